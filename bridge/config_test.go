package bridge_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gridsigner/bridge"
)

func TestConfigReportsEveryError(t *testing.T) {
	_, err := bridge.New(bridge.Config{Upstream: "http://grid.example", ClientID: "a:b", Prefix: "api/", Timeout: -1, Payloads: "some"})
	if err == nil {
		t.Fatal("error = nil, want seven")
	}
	for _, want := range []string{"upstream", "client id", "client secret", "Authenticate", "prefix", "timeout", "payloads"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not mention %q", err, want)
		}
	}
}

func TestUpstreamURL(t *testing.T) {
	tests := []struct {
		url string
		ok  bool
	}{
		{"", true}, // Grid's own
		{"https://api.lightspark.com/grid/2025-10-13", true},
		{"https://api.lightspark.com/grid/2025-10-13/", true},
		{"http://127.0.0.1:1/grid", true},
		{"http://[::1]:1/grid", true},
		{"http://localhost/grid", true},
		{"http://api.lightspark.com/grid", false},
		{"http://127.0.0.1.example/grid", false},
		{"http://localhost.example/grid", false},
		{"http://10.0.0.1/grid", false},
		{"https://user:" + url.QueryEscape(canary) + "@api.lightspark.com", false},
		{"https://api.lightspark.com/?a=b", false},
		{"https://api.lightspark.com/#a", false},
		{"api.lightspark.com", false},
		{"/grid", false},
		{"ftp://localhost/", false},
		{"https:grid", false},
		{"%" + canary, false},
	}
	for _, v := range tests {
		_, err := bridge.New(bridge.Config{
			Upstream: v.url, ClientID: clientID, ClientSecret: bridge.NewSecret(canary),
			Authenticate: func(*http.Request) (bridge.User, error) { return bridge.User{}, nil },
		})
		if (err == nil) != v.ok {
			t.Errorf("%q: error = %v, want ok %t", v.url, err, v.ok)
		}
		if err != nil {
			assertNoCanary(t, "the error", err.Error())
		}
	}
}

func TestSecretIsNeverShown(t *testing.T) {
	secret := bridge.NewSecret(canary)
	type holder struct {
		Exported   bridge.Secret
		unexported bridge.Secret
	}
	h := holder{secret, secret}
	for _, verb := range strings.Fields("%v %+v %#v %s %q %x %X %d %t %o %c %U %e %p %T %z") {
		for _, v := range []any{secret, &secret, h, &h, []bridge.Secret{secret}, map[string]bridge.Secret{"a": secret}} {
			text := fmt.Sprintf(verb, v)
			assertNoCanary(t, verb, text)
			if strings.Contains(text, fmt.Sprintf("%X", canary)) || strings.Contains(text, strings.Trim(fmt.Sprint([]byte(canaryPart)), "[]")) {
				t.Errorf("%s shows the bytes of the secret: %s", verb, text)
			}
		}
	}
	var out bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("m", "secret", secret, "holder", h, "pointer", &h)
	}
	if err := json.NewEncoder(&out).Encode(h); err != nil {
		t.Fatal(err)
	}
	out.WriteString(secret.String())
	assertNoCanary(t, "the output", out.String())
	if !strings.Contains(out.String(), "REDACTED") {
		t.Errorf("output %q does not say REDACTED", out.String())
	}
}

func TestCredentialsFromEnv(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	id, secret := file("id", "the-id\r\n"), file("secret", canary+"\n")
	tests := []struct {
		name string
		env  map[string]string
		errs []string // what the error mentions; nil for success
	}{
		{"variables", map[string]string{"GRID_CLIENT_ID": "the-id", "GRID_CLIENT_SECRET": canary}, nil},
		{"files", map[string]string{"GRID_CLIENT_ID_FILE": id, "GRID_CLIENT_SECRET_FILE": secret}, nil},
		{"one of each", map[string]string{"GRID_CLIENT_ID": "the-id", "GRID_CLIENT_SECRET_FILE": secret}, nil},
		{"none", nil, []string{"GRID_CLIENT_ID", "GRID_CLIENT_SECRET"}},
		{"two sources", map[string]string{"GRID_CLIENT_ID": "the-id", "GRID_CLIENT_SECRET": canary, "GRID_CLIENT_SECRET_FILE": secret}, []string{"only one of GRID_CLIENT_SECRET"}},
		{"no file", map[string]string{"GRID_CLIENT_ID": "the-id", "GRID_CLIENT_SECRET_FILE": dir + "/none"}, []string{"GRID_CLIENT_SECRET_FILE"}},
		{"empty file", map[string]string{"GRID_CLIENT_ID": "the-id", "GRID_CLIENT_SECRET_FILE": file("empty", "\n")}, []string{"GRID_CLIENT_SECRET_FILE"}},
	}
	for _, v := range tests {
		t.Run(v.name, func(t *testing.T) {
			gotID, gotSecret, err := bridge.CredentialsFromEnv(func(name string) string { return v.env[name] })
			if (err == nil) != (v.errs == nil) {
				t.Fatalf("error = %v, want %q", err, v.errs)
			}
			for _, want := range v.errs {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not mention %q", err, want)
				}
			}
			if err != nil {
				assertNoCanary(t, "the error", err.Error())
				return
			}
			if gotID != "the-id" {
				t.Errorf("id = %q, want the-id", gotID)
			}
			// The secret cannot be read back: it is seen at an upstream.
			var sent string
			u := newUpstream(t, func(http.ResponseWriter, *http.Request) {})
			u.Config.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, sent, _ = r.BasicAuth() })
			newClient(t, u.URL, func(c *bridge.Config) { c.ClientSecret = gotSecret }).send("GET", "/auth/sessions?accountId="+alice, "")
			if sent != canary {
				t.Errorf("upstream received secret %q, want %q", sent, canary)
			}
		})
	}
}
