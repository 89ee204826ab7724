package bridge_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
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
