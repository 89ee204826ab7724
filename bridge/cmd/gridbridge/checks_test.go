package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"flag"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gridsigner/bridge/internal/redistest"
)

// newApp starts an app that knows nobody.
func newApp(t *testing.T) (url string) {
	t.Helper()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401) }))
	t.Cleanup(app.Close)
	return app.URL
}

// writeKeys writes a key set of keys.
func writeKeys(t *testing.T, keys ...jose.JSONWebKey) (path string) {
	t.Helper()
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(path, set, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// writePair writes a certificate and its key.
func writePair(t *testing.T) (path string) {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	server.Close()
	key, err := x509.MarshalPKCS8PrivateKey(server.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	path = filepath.Join(t.TempDir(), "pair.pem")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestWrongSettings spoils a good configuration in one way at a time. Each is named once,
// and nothing of a value is said. A good one is spoilt by nothing.
func TestWrongSettings(t *testing.T) {
	const secret = "c4n4ry-c4n4ry-c4n4ry-c4n4ry-c4n4ry"
	key, errEC := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	short, errRSA := rsa.GenerateKey(rand.Reader, 1024)
	if errEC != nil || errRSA != nil {
		t.Fatal(errEC, errRSA)
	}
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	alive, dead := newApp(t), httptest.NewServer(http.NotFoundHandler())
	defer dead.Close()
	shows := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("<p>my wallet")) }))
	defer shows.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	pair := writePair(t)
	redis := redistest.Start(t)
	lost := strings.TrimPrefix(gone.URL, "http://")
	jwks := writeKeys(t, jose.JSONWebKey{Key: key.Public()})
	type env = map[string]string
	app := func(args ...string) []string { return append([]string{"--forward-auth", alive}, args...) }
	issuer := func(args ...string) []string {
		return append([]string{"--issuer", "https://login.example", "--jwks", jwks}, args...)
	}
	tokens := func(args ...string) []string { return append(issuer("--audience", "a"), args...) }
	keys := func(path string) []string {
		return []string{"--issuer", "https://login.example", "--audience", "a", "--jwks", path}
	}
	for _, v := range []struct {
		name    string
		args    []string
		env     env
		setting string // or settings with a blank between them, "" for a good configuration
		want    string
	}{
		{"forward auth", app(), nil, "", ""},
		{"tokens", tokens("--accounts-claim", "accounts"), nil, "", ""},
		{"all that needs something", app("--redis-url", "redis://"+redis.Addr, "--redis-pool", "3", "--redis-prefix", "p:", "--admin-listen", "127.0.0.1:0", "--drain-delay", "1s"), nil, "", ""},
		{"state of traces alone", app("--trace-state"), nil, "", ""}, // which is passed on without a collector, too
		{"by variables", nil, env{"GRIDBRIDGE_FORWARD_AUTH": alive, "GRIDBRIDGE_ALLOW_ORIGIN": "https://a.example,https://b.example", "GRIDBRIDGE_PATIENCE": "1s"}, "", ""},
		{"key of its own", app(), env{"GRIDBRIDGE_KEY": "another " + secret}, "", ""},
		{"simulator", app(), env{"GRID_BASE_URL": "http://127.0.0.1:1"}, "", ""},
		{"slash after the version", app(), env{"GRID_BASE_URL": "https://api.lightspark.com/grid/2025-10-13/"}, "", ""},
		{"Kubernetes Service", app(), env{
			"GRIDBRIDGE_SERVICE_HOST": "10.0.0.1", "GRIDBRIDGE_SERVICE_PORT": "80", "GRIDBRIDGE_SERVICE_PORT_HTTP": "80", "GRIDBRIDGE_PORT": "tcp://10.0.0.1:80",
			"GRIDBRIDGE_PORT_80_TCP": "tcp://10.0.0.1:80", "GRIDBRIDGE_PORT_80_TCP_ADDR": "10.0.0.1", "GRIDBRIDGE_PORT_80_TCP_PORT": "80", "GRIDBRIDGE_PORT_80_TCP_PROTO": "tcp",
			"GRIDBRIDGE_ADMIN_SERVICE_HOST": "10.0.0.2", "GRIDBRIDGE_ADMIN_PORT_9090_TCP_ADDR": "10.0.0.2",
		}, "", ""},

		{"proxies", app(), env{"GRIDBRIDGE_TRUSTED_PROXIES": secret}, "GRIDBRIDGE_TRUSTED_PROXIES", "is no setting: is GRIDBRIDGE_TRUSTED_PROXY meant?"},
		{"origins", app(), env{"GRIDBRIDGE_ALLOW_ORIGINS": secret}, "GRIDBRIDGE_ALLOW_ORIGINS", "is no setting: is GRIDBRIDGE_ALLOW_ORIGIN meant?"},
		{"name like no other", app(), env{"GRIDBRIDGE_WALLPAPER": secret}, "GRIDBRIDGE_WALLPAPER", "is no setting"},
		{"port", app(), env{"GRIDBRIDGE_PORT": "80"}, "GRIDBRIDGE_PORT", "is no setting"},
		{"beside a Service", app(), env{"GRIDBRIDGE_SERVICE_HOST": "10.0.0.1", "GRIDBRIDGE_PORT_80": secret}, "GRIDBRIDGE_PORT_80", "is no setting"},
		{"secret", app(), env{"GRID_CLIENT_SECRETS": secret}, "GRID_CLIENT_SECRETS", "is no setting: is GRID_CLIENT_SECRET meant?"},
		{"base", app(), env{"GRID_BASE_URI": secret}, "GRID_BASE_URI", "is no setting: is GRID_BASE_URL meant?"},

		{"blank after the secret", app(), env{"GRID_CLIENT_SECRET": secret + " "}, "GRID_CLIENT_SECRET", "begins or ends with a blank"},
		{"blank before the audience", issuer("--audience", " "+secret), nil, "--audience", "begins or ends with a blank"},
		{"two of them", app("--allow-origin", " https://"+secret+".example", "--allow-origin", "https://b.example "), nil, "--allow-origin", "begins or ends with a blank"},
		{"blank in a list", app(), env{"GRIDBRIDGE_ALLOW_ORIGIN": "https://a.example, https://" + secret + ".example"}, "GRIDBRIDGE_ALLOW_ORIGIN", "begins or ends with a blank"},
		{"blank after a single value", app(), env{"GRIDBRIDGE_LISTEN": "127.0.0.1:0\t"}, "GRIDBRIDGE_LISTEN", "begins or ends with a blank"},
		{"nothing in a list", app(), env{"GRIDBRIDGE_TRUSTED_PROXY": "10.0.0.1,,10.0.0.2"}, "GRIDBRIDGE_TRUSTED_PROXY", "one of its values is empty"},
		{"nothing at its end", app(), env{"GRIDBRIDGE_TRUSTED_PROXY": "10.0.0.1,"}, "GRIDBRIDGE_TRUSTED_PROXY", "one of its values is empty"},
		{"nothing", app("--allow-origin", ""), nil, "--allow-origin", "one of its values is empty"},

		{"no path", app(), env{"GRID_BASE_URL": "https://api.lightspark.com"}, "GRID_BASE_URL", "does not end in a version"},
		{"no version", app(), env{"GRID_BASE_URL": "https://api.lightspark.com/grid"}, "GRID_BASE_URL", "does not end in a version"},
		{"more than the version", app(), env{"GRID_BASE_URL": "https://api.lightspark.com/grid/2025-10-13/auth"}, "GRID_BASE_URL", "does not end in a version"},
		{"blank after the version", app(), env{"GRID_BASE_URL": "https://api.lightspark.com/grid/2025-10-13 "}, "GRID_BASE_URL", "begins or ends with a blank"},

		{"app without that page", []string{"--forward-auth", dead.URL + "/?" + secret}, nil, "forward-auth", "says of nobody who it is"},
		{"app that shows its page for every path", []string{"--forward-auth", shows.URL + "/?" + secret}, nil, "forward-auth", "names no user"},
		{"app that is gone", []string{"--forward-auth", gone.URL + "/?" + secret}, nil, "forward-auth", "does not answer"},
		{"Redis that is gone", app(), env{"GRIDBRIDGE_REDIS_URL": "redis://:" + secret + "@" + lost}, "--redis-url", "cannot be used: refused"},
		{"Redis without verification", app(), env{"GRIDBRIDGE_REDIS_URL": "rediss://:" + secret + "@redis.example?skip_verify=true"}, "--redis-url", "with a query"},

		{"RSA of 1024 bits", keys(writeKeys(t, jose.JSONWebKey{Key: short.Public(), KeyID: secret})), nil, "JWKS", "1 are RSA keys under 2048 bits"},
		{"key for encryption", keys(writeKeys(t, jose.JSONWebKey{Key: key.Public(), KeyID: secret, Use: "enc"})), nil, "JWKS", "1 are for something else"},
		{"subject for accounts", tokens("--accounts-claim", "sub"), nil, "--accounts-claim", "for something else"},
		{"scope for accounts", tokens(), env{"GRIDBRIDGE_ACCOUNTS_CLAIM": "scope"}, "--accounts-claim", "for something else"},

		{"socket trusted, where none is", app("--trusted-proxy", "unix"), nil, "--trusted-proxy", "no effect without --listen unix:PATH"},
		{"pool of no Redis", app("--redis-pool", "3"), nil, "--redis-pool", "no effect without --redis-url"},
		{"prefix of no Redis", app(), env{"GRIDBRIDGE_REDIS_PREFIX": secret}, "GRIDBRIDGE_REDIS_PREFIX", "no effect without --redis-url"},
		{"delay that nobody sees", app("--drain-delay", "3s"), nil, "--drain-delay", "no effect without --admin-listen"},
		{"claim of no token", app("--accounts-claim", secret), nil, "--accounts-claim", "no effect without --issuer"},
		{"certificate for nobody", tokens("--identity-cert", pair, "--identity-key", pair), nil, "--identity-cert --identity-key", "no effect without an app or an issuer"},
		{"authority for nobody", tokens("--identity-ca", pair), nil, "--identity-ca", "no effect without an app or an issuer"},
		{"audience without an issuer", []string{"--audience", "a"}, nil, "--audience", "--issuer is not set"},
		{"keys without an issuer", []string{"--jwks", jwks}, nil, "--jwks", "--issuer is not set"},
		{"API secret for the key", app(), env{"GRID_CLIENT_SECRET": secret, "GRIDBRIDGE_KEY_FILE": file}, "GRIDBRIDGE_KEY", "is the API client secret"},
	} {
		t.Run(v.name, func(t *testing.T) {
			environ := maps.Clone(serveEnv)
			maps.Copy(environ, v.env)
			for name, value := range environ {
				t.Setenv(name, value)
			}
			var stdout, stderr bytes.Buffer
			err := run(t.Context(), append([]string{"serve", "--config-check"}, v.args...), os.Getenv, &stdout, &stderr)
			if v.setting == "" {
				if err != nil || !strings.Contains(stdout.String(), "good") {
					t.Fatalf("error = %v, want none", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), v.want) {
				t.Fatalf("error = %v, want one with %q", err, v.want)
			}
			settings := strings.Fields(v.setting)
			for _, setting := range settings {
				named := regexp.MustCompile(`(^|[^-\w])` + setting + `($|[^-\w])`)
				if len(named.FindAllString(err.Error(), -1)) != 1 {
					t.Errorf("error = %v, want %s in it once", err, setting)
				}
			}
			if lines := strings.Count(err.Error(), "\n") + 1; lines != len(settings) {
				t.Errorf("error = %v, which is %d lines, want one for each of %s", err, lines, settings)
			}
			if text := err.Error() + stdout.String() + stderr.String(); strings.Contains(text, secret) {
				t.Errorf("a value is told:\n%s", text)
			}
		})
	}
}

// TestNearest wants a name that may be meant, and none for what is like nothing.
func TestNearest(t *testing.T) {
	for name, want := range map[string]string{
		"GRIDBRIDGE_REDIS_URI": "GRIDBRIDGE_REDIS_URL", "GRIDBRIDGE_JWK": "GRIDBRIDGE_JWKS", "GRIDBRIDGE_ISUER": "GRIDBRIDGE_ISSUER", "GRIDBRIDGE_AUDIENCES": "GRIDBRIDGE_AUDIENCE",
		"GRIDBRIDGE_Issuer": "GRIDBRIDGE_ISSUER", "GRIDBRIDGE_LIMIT_SIGN_INNS": "GRIDBRIDGE_LIMIT_SIGN_INS", "GRID_CLIENT_SECRETFILE": "GRID_CLIENT_SECRET_FILE",
		"GRIDBRIDGE_LOG": "", "GRIDBRIDGE_": "", "GRIDBRIDGE_UPSTREAM_URL": "",
	} {
		if got := nearest(name, variables()); got != want {
			t.Errorf("%s is near %q, want %q", name, got, want)
		}
	}
}

// TestDeadAppIsLogged starts a bridge whose app is dead: it serves, and says so.
func TestDeadAppIsLogged(t *testing.T) {
	dead := httptest.NewServer(http.NotFoundHandler())
	defer dead.Close()
	p := start(t, serveEnv, "serve", "--listen", "127.0.0.1:0", "--forward-auth", dead.URL)
	base := strings.TrimPrefix(p.line(), "bridge listening on ")
	for deadline := time.Now().Add(time.Minute); !strings.Contains(p.stderr.String(), "says of nobody who it is"); {
		if resp, body := fetch(t, "GET", base+"/auth/sessions", "", nil); resp.StatusCode != 401 {
			t.Fatalf("answer = %d %s, want 401", resp.StatusCode, body)
		}
		if time.Now().After(deadline) {
			t.Fatalf("not in the log after a minute:\n%s", p.stderr.String())
		}
	}
}

// TestArgumentAmongFlags wants the argument of a command before, after and between its flags.
func TestArgumentAmongFlags(t *testing.T) {
	const url = "https://bridge.example/api/grid"
	for _, v := range []struct {
		args string
		err  string // "" for success
	}{
		{"--account X --json " + url, ""},
		{url + " --account X --json", ""},
		{"--account X " + url + " --json", ""},
		{"--json " + url + " --account=X", ""},
		{"--account X --json", "check needs an argument"},
		{url + " --account X --json " + url, "takes one argument beside its flags"},
		{url + " --account X --jsn", "-jsn"},
	} {
		var c checker
		err := (system{stdout: io.Discard}).parse(c.flags(), strings.Fields(v.args), &c.URL)
		if v.err != "" {
			if err == nil || !strings.Contains(err.Error(), v.err) {
				t.Errorf("%s: error = %v, want one with %q", v.args, err, v.err)
			}
		} else if err != nil || c.URL != url || c.Account != "X" || !c.json {
			t.Errorf("%s = %q, account %q, JSON %t, %v", v.args, c.URL, c.Account, c.json, err)
		}
	}
	var given []string
	f := flag.NewFlagSet("serve", flag.ContinueOnError)
	f.String("a", "", "")
	err := (system{stdout: io.Discard}).parse(f, []string{"--a", "b", "c"})
	f.Visit(func(f *flag.Flag) { given = append(given, f.Name) })
	if err == nil || !strings.Contains(err.Error(), "no argument beside its flags") || !slices.Equal(given, []string{"a"}) {
		t.Errorf("error = %v with flags %q, want that there is no argument", err, given)
	}
}
