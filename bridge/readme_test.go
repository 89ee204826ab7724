package bridge

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gridsigner/bridge/internal/readme"
	"gridsigner/signer"
)

// TestReadmeListsEveryOperation holds the README's table of operations against
// the signer's. Only what the code does not say in words has them here.
func TestReadmeListsEveryOperation(t *testing.T) {
	bodies := map[signer.Operation]string{
		signer.OpRefreshSession:      "`{clientPublicKey}`",
		signer.OpAddCredential:       "`{type, accountId, …}`, for OAUTH `oidcToken`, for PASSKEY `nickname`, `challenge`, `attestation`",
		signer.OpChallengeCredential: "`{}`, for PASSKEY `{clientPublicKey}`",
		signer.OpVerifyCredential:    "`{type, …}`, for OAUTH `oidcToken`, `clientPublicKey`, for an OTP type `encryptedOtpBundle`, for PASSKEY `assertion`",
		signer.OpExportWallet:        "`{clientPublicKey}`",
	}
	payloads := map[signer.IntentName]string{
		signer.RevokeSession:    "deletes one API key; or is opaque",
		signer.RefreshSession:   "makes a session for the key in the body",
		signer.AddCredential:    "adds one credential: the type, token or attestation in the body",
		signer.RemoveCredential: "removes one credential, of the type that Grid lists",
		signer.SignIn:           "for an OTP type: is the token of a code",
		signer.ExportWallet:     "exports a wallet to the key in the body",
	}
	table := "| Operation | Request | Body | Last answer | Its payload |\n|---|---|---|---|---|\n"
	for _, op := range signer.Operations() {
		rt := op.Route()
		if (bodies[op] != "") != rt.Body || (payloads[rt.Intent] != "") != (rt.Intent != "") {
			t.Errorf("%s: the test has no words for its body or its payload, or has some that it should not", op)
		}
		table += fmt.Sprintf("| `%s` | `%s %s` | %s | %d | %s |\n", op, rt.Method, rt.Path, bodies[op], rt.Status, payloads[rt.Intent])
	}
	readme.Hold(t, "README.md", "<!-- operations: made by the tests -->\n", "<!-- end of operations -->", table)
}

// TestReadmeListsEveryRefusal holds the README's table of codes against the one
// list.
func TestReadmeListsEveryRefusal(t *testing.T) {
	list := slices.Clone(refusals)
	slices.SortStableFunc(list, func(a, b *refusal) int { return cmp.Compare(a.status, b.status) })
	table := "| Status | Code | Meaning |\n|---|---|---|\n"
	for i, e := range list {
		table += fmt.Sprintf("| %d | `%s` | %s |\n", e.status, e.code, e.message)
		if !strings.HasPrefix(e.code, "BRIDGE_") || slices.ContainsFunc(list[:i], func(other *refusal) bool { return other.code == e.code }) {
			t.Errorf("code %q is not a code of its own", e.code)
		}
	}
	readme.Hold(t, "README.md", "<!-- refusals: made by the tests -->\n", "<!-- end of refusals -->", table)
}

// TestReadmeExplainsEveryReason holds the README's table of reasons against the code, in
// which no reason may be without an explanation.
func TestReadmeExplainsEveryReason(t *testing.T) {
	text, err := os.ReadFile("reason.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range regexp.MustCompile(`(?m)^\t([Rr]eason\w+) +(?:Reason )?= `).FindAllStringSubmatch(string(text), -1) {
		if !strings.Contains(string(text), "\t{"+found[1]+", ") {
			t.Errorf("%s is not explained", found[1])
		}
	}
	table := "| Reason | What it means | What to do |\n|---|---|---|\n"
	for i, e := range explanations {
		table += fmt.Sprintf("| `%s` | %s | %s |\n", e.reason, e.means, e.do)
		if slices.ContainsFunc(explanations[:i], func(other explanation) bool { return other.reason == e.reason }) {
			t.Errorf("%s is explained twice", e.reason)
		}
	}
	readme.Hold(t, "README.md", "<!-- reasons: made by the tests -->\n", "<!-- end of reasons -->", table)
}
