package bridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v2"
)

// Document is openapi.yaml as its readers take it: every field that it has is one of
// OpenAPI 3.1.
type Document struct {
	OpenAPI string `yaml:"openapi"`
	Info    struct {
		Title, Version, Description string
		License                     struct{ Name, Identifier string }
	}
	Servers    []struct{ URL, Description string }
	Security   []map[string][]string
	Paths      map[string]map[string]*documentOperation
	Components struct {
		SecuritySchemes map[string]struct{ Type, Scheme, In, Name, Description string } `yaml:"securitySchemes"`
		Parameters      map[string]documentParameter
		Headers         map[string]documentHeader
		Responses       map[string]documentResponse
		Schemas         map[string]any
	}

	whole   any // for the validator of schemas
	schemas *jsonschema.Compiler
}

type (
	documentRef struct {
		Ref string `yaml:"$ref"`
	}
	documentOperation struct {
		OperationID string `yaml:"operationId"`
		Summary     string
		Parameters  []documentRef
		RequestBody *struct {
			Required bool
			Content  documentContent
		} `yaml:"requestBody"`
		Responses map[string]documentResponse
	}
	documentParameter struct {
		Name, In, Description string
		Required              bool
		Schema                map[string]any
	}
	documentHeader struct {
		documentRef `yaml:",inline"`
		Description string
		Required    bool
		Schema      map[string]any
	}
	documentResponse struct {
		documentRef `yaml:",inline"`
		Description string
		Headers     map[string]documentHeader
		Content     documentContent
	}
	documentContent map[string]struct{ Schema map[string]any }
)

// OpenDocument reads openapi.yaml.
func OpenDocument(t testing.TB) *Document {
	t.Helper()
	text, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	d := &Document{schemas: jsonschema.NewCompiler()}
	var whole any
	if err := errors.Join(yaml.UnmarshalStrict(text, d), yaml.Unmarshal(text, &whole)); err != nil {
		t.Fatal(err)
	}
	d.whole = asJSON(whole)
	if err := d.schemas.AddResource("openapi.yaml", d.whole); err != nil {
		t.Fatal(err)
	}
	return d
}

// asJSON is what yaml has read as encoding/json reads it.
func asJSON(v any) any {
	switch v := v.(type) {
	case map[any]any:
		object := make(map[string]any, len(v))
		for name, value := range v {
			object[fmt.Sprint(name)] = asJSON(value)
		}
		return object
	case []any:
		array := make([]any, len(v))
		for i := range v {
			array[i] = asJSON(v[i])
		}
		return array
	case int:
		return json.Number(strconv.Itoa(v))
	}
	return v
}

// pointer is where in the document something is.
func pointer(names ...string) string {
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	at := "#"
	for _, name := range names {
		at += "/" + escape.Replace(name)
	}
	return at
}

// check holds v against the schema at a pointer.
func (d *Document) check(at string, v any) error {
	return d.schemas.MustCompile("openapi.yaml" + at).Validate(v) // what is not there must not look like a refusal
}

// checkJSON holds a body against the schema at a pointer.
func (d *Document) checkJSON(at string, body string) error {
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
	if err != nil {
		return err
	}
	return d.check(at, v)
}

// operation finds the operation of a request, and the id in its path.
func (d *Document) operation(method, path string) (template, id string, op *documentOperation) {
	for template, item := range d.Paths {
		before, after, takes := strings.Cut(template, "{id}")
		id, ok := strings.CutPrefix(path, before)
		id, ok2 := strings.CutSuffix(id, after)
		if op := item[strings.ToLower(method)]; op != nil && ok && ok2 && takes == (id != "") && !strings.Contains(id, "/") {
			return template, id, op
		}
	}
	return "", "", nil
}

// CheckRequest holds a request against the document.
func (d *Document) CheckRequest(r *http.Request, body string) error {
	path, ok := strings.CutPrefix(r.URL.Path, d.Servers[0].URL)
	template, id, op := d.operation(r.Method, path)
	if !ok || op == nil {
		return fmt.Errorf("there is no operation %s %s", r.Method, r.URL.Path)
	}
	var errs []error
	known := 0
	for _, ref := range op.Parameters {
		name := strings.TrimPrefix(ref.Ref, "#/components/parameters/")
		p := d.Components.Parameters[name]
		var values []string
		switch p.In {
		case "path":
			values = []string{id}
		case "query":
			values = r.URL.Query()[p.Name]
			known++
		case "header":
			values = r.Header.Values(p.Name)
		}
		switch {
		case len(values) == 1:
			errs = append(errs, d.check(pointer("components", "parameters", name, "schema"), values[0]))
		case len(values) > 1, p.Required:
			errs = append(errs, fmt.Errorf("%d values of %s", len(values), p.Name))
		}
	}
	if len(r.URL.Query()) > known {
		errs = append(errs, fmt.Errorf("a query of %s", r.URL.RawQuery))
	}
	switch {
	case op.RequestBody == nil && body != "":
		errs = append(errs, errors.New("a body, where there is none"))
	case op.RequestBody != nil && r.Header.Get("Content-Type") != "application/json":
		errs = append(errs, errors.New("the body is not of a type that is listed"))
	case op.RequestBody != nil:
		errs = append(errs, d.CheckBody(r.Method, template, body))
	}
	return errors.Join(errs...)
}

// CheckBody holds the body of a request of a path, whose id may be {id}, against the document.
func (d *Document) CheckBody(method, path, body string) error {
	template, _, _ := d.operation(method, path)
	return d.checkJSON(pointer("paths", template, strings.ToLower(method), "requestBody", "content", "application/json", "schema"), body)
}

// CheckResponse holds an answer to a request of a method and a path against the document, and
// names under which operation and status it is there.
func (d *Document) CheckResponse(method, path string, status int, header http.Header, body string) (where string, err error) {
	template, _, op := d.operation(method, strings.TrimPrefix(path, d.Servers[0].URL))
	if op == nil {
		return "", fmt.Errorf("there is no operation %s %s", method, path)
	}
	key := strconv.Itoa(status)
	if _, ok := op.Responses[key]; !ok {
		key = key[:1] + "XX"
	}
	answer, ok := op.Responses[key]
	at := pointer("paths", template, strings.ToLower(method), "responses", key)
	if !ok {
		return "", fmt.Errorf("%s has no answer with %d", op.OperationID, status)
	}
	if answer.Ref != "" {
		at, answer = answer.Ref, d.Components.Responses[strings.TrimPrefix(answer.Ref, "#/components/responses/")]
	}
	var errs []error
	for name, h := range answer.Headers {
		component := strings.TrimPrefix(h.Ref, "#/components/headers/")
		switch values := header.Values(name); {
		case len(values) == 1:
			errs = append(errs, d.check(pointer("components", "headers", component, "schema"), values[0]))
		case len(values) > 1, d.Components.Headers[component].Required:
			errs = append(errs, fmt.Errorf("%d values of %s", len(values), name))
		}
	}
	for _, name := range []string{"X-Correlation-Id", "Retry-After", "WWW-Authenticate"} {
		if _, listed := answer.Headers[name]; header.Get(name) != "" && !listed {
			errs = append(errs, fmt.Errorf("%s, which is not listed", name))
		}
	}
	if answer.Content == nil {
		if body != "" {
			errs = append(errs, errors.New("a body, where there is none"))
		}
	} else if header.Get("Content-Type") != "application/json" {
		errs = append(errs, errors.New("the body is not of the type that is listed"))
	} else {
		errs = append(errs, d.checkJSON(at+pointer("content", "application/json", "schema")[1:], body))
	}
	return op.OperationID + " " + key, errors.Join(errs...)
}

// Successes are the answers below 300 that the document has, as CheckResponse names them.
func (d *Document) Successes() (all []string) {
	for _, item := range d.Paths {
		for _, op := range item {
			for key := range op.Responses {
				if key < "3" {
					all = append(all, op.OperationID+" "+key)
				}
			}
		}
	}
	slices.Sort(all)
	return all
}
