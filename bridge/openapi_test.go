package bridge

import (
	"bytes"
	"cmp"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/template"

	"gridsigner/signer"
)

// openAPIWords are what the table of operations does not say: names of schemas in
// testdata/openapi.yaml.tmpl, and a line for a person.
var openAPIWords = map[signer.Operation]struct{ summary, body, answer string }{
	signer.OpListSessions:        {"The active sessions of an account", "", "Sessions"},
	signer.OpRevokeSession:       {"Ends a session. 404 says that there is no such session, or no longer", "", ""},
	signer.OpRefreshSession:      {"Makes a new session with another key, by the signature of this one", "Refresh", "Session"},
	signer.OpListCredentials:     {"The ways to sign in to an account", "", "Credentials"},
	signer.OpAddCredential:       {"Adds a way to sign in", "NewCredential", "Credential"},
	signer.OpRemoveCredential:    {"Removes a way to sign in. 404 says that there is no such credential, or no longer", "", ""},
	signer.OpChallengeCredential: {"Has a code sent, or a challenge made for a passkey", "Ask", "Asked"},
	signer.OpVerifyCredential:    {"Signs in. What a code is followed by is signed, an OIDC token or a passkey is not", "Proof", "Session"},
	signer.OpExportWallet:        {"Gives out a wallet, sealed to the key in the body", "Export", "Wallet"},
}

// What the template makes the document of.
type (
	openAPIPath struct {
		Path       string
		Operations []openAPIOperation
	}
	openAPIOperation struct {
		Verb, Name, Summary, Body string
		Parameters                []string
		Responses                 []openAPIResponse
	}
	openAPIResponse struct {
		Status              string
		Component           string // or else an answer of the operation's own:
		Answer, Description string
		Processing          bool // may also say that Grid is not done
	}
	openAPIRefusals struct {
		Status   int
		Refusals []openAPIRefusal
	}
	openAPIRefusal struct{ Code, Message string }
)

// concerns reports whether a request of rt can be refused as e.
func (e *refusal) concerns(rt *route) bool {
	switch e.status {
	case errMethodNotAllowed.status, errClientGone.status: // that of no operation, and that of no answer
		return false
	case errSignatureReplayed.status:
		return rt.Intent != ""
	case errBodyTooLarge.status, errContentType.status:
		return rt.Body
	}
	return true
}

func openAPIOperationOf(rt *route) openAPIOperation {
	words := openAPIWords[rt.op]
	op := openAPIOperation{Verb: strings.ToLower(rt.Method), Name: string(rt.op), Summary: words.summary, Body: words.body}
	if rt.idKind != "" {
		where := "InPath"
		if rt.query != "" {
			where = "InQuery"
		}
		op.Parameters = append(op.Parameters, rt.idKind+where)
	}
	if rt.Method != http.MethodGet {
		op.Parameters = append(op.Parameters, "Client")
	}
	if rt.idKind != "" && rt.idKind != "InternalAccount" {
		op.Parameters = append(op.Parameters, "Account")
	}
	if rt.Intent != "" {
		op.Parameters = append(op.Parameters, "WalletSignature", "RequestId")
	}
	op.Parameters = append(op.Parameters, "Traceparent")

	goesOn := rt.Intent != "" || rt.op == signer.OpChallengeCredential
	last := openAPIResponse{Status: strconv.Itoa(rt.Status), Answer: words.answer, Description: "Done.", Processing: goesOn && rt.Status == http.StatusOK}
	if rt.Status == http.StatusNoContent {
		last.Component = "Done"
	}
	op.Responses = append(op.Responses, last)
	if goesOn && rt.Status != http.StatusOK {
		op.Responses = append(op.Responses, openAPIResponse{Status: "200", Component: "Processing"})
	}
	if rt.Intent != "" {
		op.Responses = append(op.Responses, openAPIResponse{Status: "202", Component: "Challenged"})
	}
	for _, e := range refusals {
		status := strconv.Itoa(e.status)
		if e.concerns(rt) && !slices.ContainsFunc(op.Responses, func(r openAPIResponse) bool { return r.Status == status }) {
			op.Responses = append(op.Responses, openAPIResponse{Status: status, Component: "Refused" + status})
		}
	}
	slices.SortFunc(op.Responses, func(a, b openAPIResponse) int { return strings.Compare(a.Status, b.Status) })
	for _, status := range []string{"4XX", "5XX"} {
		op.Responses = append(op.Responses, openAPIResponse{Status: status, Component: "RefusedByGrid"})
	}
	return op
}

// makeOpenAPI is the document as the table and the list of refusals have it.
func makeOpenAPI(t *testing.T) string {
	t.Helper()
	var data struct {
		Paths   []openAPIPath
		Refused []openAPIRefusals
	}
	for i := range routes {
		rt := &routes[i]
		words := openAPIWords[rt.op]
		if words.summary == "" || (words.body != "") != rt.Body || (words.answer != "") != (rt.Status != http.StatusNoContent) {
			t.Errorf("%s: the test has no words for it, its body or its answer, or has some that it should not", rt.op)
		}
		at := slices.IndexFunc(data.Paths, func(p openAPIPath) bool { return p.Path == rt.template })
		if at < 0 {
			at = len(data.Paths)
			data.Paths = append(data.Paths, openAPIPath{Path: rt.template})
		}
		data.Paths[at].Operations = append(data.Paths[at].Operations, openAPIOperationOf(rt))
	}
	list := slices.Clone(refusals)
	slices.SortStableFunc(list, func(a, b *refusal) int { return cmp.Compare(a.status, b.status) })
	for _, e := range list {
		if !slices.ContainsFunc(routes, func(rt route) bool { return e.concerns(&rt) }) {
			continue
		}
		if n := len(data.Refused); n == 0 || data.Refused[n-1].Status != e.status {
			data.Refused = append(data.Refused, openAPIRefusals{Status: e.status})
		}
		last := &data.Refused[len(data.Refused)-1]
		last.Refusals = append(last.Refusals, openAPIRefusal{e.code, e.message})
	}
	page, err := template.ParseFiles("testdata/openapi.yaml.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	var made bytes.Buffer
	if err := page.Execute(&made, data); err != nil {
		t.Fatal(err)
	}
	return made.String()
}

// TestOpenAPIIsMadeOfTheTable holds openapi.yaml against what it is made of. With
// UPDATE_README=1 it writes it.
func TestOpenAPIIsMadeOfTheTable(t *testing.T) {
	want := makeOpenAPI(t)
	if os.Getenv("UPDATE_README") != "" {
		if err := os.WriteFile("openapi.yaml", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("openapi.yaml")
	if err != nil || string(got) != want {
		t.Errorf("openapi.yaml is not what the table makes of it (%v): UPDATE_README=1 go test -run OpenAPI ./bridge writes it", err)
	}
}

// TestOpenAPIIsWhole reads the document strictly. What it refers to is there, what is there is
// referred to, and it has the operations of the table and no others.
func TestOpenAPIIsWhole(t *testing.T) {
	d := OpenDocument(t)
	text, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	refs := map[string]bool{}
	for _, m := range regexp.MustCompile(`'(#/[^']*)'`).FindAllStringSubmatch(string(text), -1) {
		refs[m[1]] = true
	}
	have := map[string]bool{}
	for kind, items := range d.whole.(map[string]any)["components"].(map[string]any) {
		for name := range items.(map[string]any) {
			if kind != "securitySchemes" {
				have[pointer("components", kind, name)] = true
			}
		}
	}
	if !maps.Equal(refs, have) {
		t.Errorf("it refers to\n%q\nand has\n%q", slices.Sorted(maps.Keys(refs)), slices.Sorted(maps.Keys(have)))
	}
	for name := range d.Components.Schemas {
		if _, err := d.schemas.Compile("openapi.yaml" + pointer("components", "schemas", name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, requirement := range d.Security {
		for name := range requirement {
			if _, ok := d.Components.SecuritySchemes[name]; !ok {
				t.Errorf("there is no security scheme %s", name)
			}
		}
	}
	var got, want []string
	for path, item := range d.Paths {
		for verb, op := range item {
			got = append(got, op.OperationID+" "+strings.ToUpper(verb)+" "+path)
		}
	}
	for _, op := range signer.Operations() {
		path, _, _ := strings.Cut(op.Route().Path, "?")
		want = append(want, string(op)+" "+op.Route().Method+" "+regexp.MustCompile(`\{.*\}`).ReplaceAllString(path, "{id}"))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || d.OpenAPI != "3.1.0" || d.Info.License.Identifier != "Apache-2.0" {
		t.Errorf("operations %q, want %q", got, want)
	}
}

// TestOpenAPIPatterns holds the patterns of ids and headers against the functions that the
// bridge goes by, with everything that is one byte away from what they take.
func TestOpenAPIPatterns(t *testing.T) {
	d := OpenDocument(t)
	const uuid = "019542f5-b3e7-1d02-0000-00000000000a"
	for _, v := range []struct {
		where, good string
		valid       func(string) bool
	}{
		{pointer("components", "schemas", "SessionId"), "Session:" + uuid, func(s string) bool { return signer.ValidID("Session", s) }},
		{pointer("components", "schemas", "AuthMethodId"), "AuthMethod:" + uuid, func(s string) bool { return signer.ValidID("AuthMethod", s) }},
		{pointer("components", "schemas", "InternalAccountId"), "InternalAccount:" + uuid, func(s string) bool { return signer.ValidID("InternalAccount", s) }},
		{pointer("components", "schemas", "RequestId"), "Request:" + uuid, signer.ValidRequestID},
		{pointer("components", "schemas", "RequestId"), uuid, signer.ValidRequestID},
		{pointer("components", "parameters", "WalletSignature", "schema"), "aZ09-_+/=", validSignature},
	} {
		texts := []string{v.good, "", v.good + v.good, v.good + "\n", strings.ToUpper(v.good), strings.Repeat("a", maxSignature), strings.Repeat("a", maxSignature+1)}
		for i := range v.good {
			texts = append(texts, v.good[:i]+v.good[i+1:])
			for _, other := range []string{"", "0", "g", "F", ":", "-", " ", "\n", "é"} {
				texts = append(texts, v.good[:i]+other+v.good[i:], v.good[:i]+other+v.good[i+1:])
			}
		}
		if !v.valid(v.good) {
			t.Errorf("%s: %q is not valid", v.where, v.good)
		}
		for _, text := range texts {
			if err := d.check(v.where, text); (err == nil) != v.valid(text) {
				t.Errorf("%s: %q is valid: %t, by the document: %v", v.where, text, v.valid(text), err)
			}
		}
	}
}

// TestOpenAPIHasEveryRefusal holds each refusal, as it is written, against each operation that
// can be refused so.
func TestOpenAPIHasEveryRefusal(t *testing.T) {
	d := OpenDocument(t)
	const correlation = "7c4a8d09-ca37-4e3e-9e0d-8c2b3e9a1f21"
	for _, e := range refusals {
		if e.status == http.StatusUnauthorized {
			e = e.asking(nil)
		}
		if e.status == http.StatusTooManyRequests || e.status == http.StatusServiceUnavailable {
			e = e.after(1)
		}
		w := httptest.NewRecorder()
		w.Header().Set("X-Correlation-Id", correlation)
		e.write(w, correlation)
		for i := range routes {
			rt := &routes[i]
			_, err := d.CheckResponse(rt.Method, rt.template, w.Code, w.Header(), w.Body.String())
			if (err == nil) != e.concerns(rt) {
				t.Errorf("%s with %s: %v", rt.op, e.code, err)
			}
			if _, err := d.CheckResponse(rt.Method, rt.template, w.Code, w.Header(), strings.Replace(w.Body.String(), e.code, "BRIDGE_OTHER", 1)); err == nil {
				t.Errorf("%s with %d: a code that the bridge does not have is taken", rt.op, w.Code)
			}
		}
	}
}
