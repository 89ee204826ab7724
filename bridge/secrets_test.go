package bridge_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"strings"
	"testing"
	"time"

	"gridsigner/bridge"
	"gridsigner/bridge/identity"
	"gridsigner/bridge/internal/redistest"
	"gridsigner/signer"
)

// TestProfilesHoldNoSecret takes every profile that Go can make, and an
// execution trace, while a request with the credentials is under way.
func TestProfilesHoldNoSecret(t *testing.T) {
	runtime.SetBlockProfileRate(1)
	defer runtime.SetBlockProfileRate(0)
	defer runtime.SetMutexProfileFraction(runtime.SetMutexProfileFraction(1))
	reached, proceed := make(chan struct{}), make(chan struct{})
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		close(reached)
		<-proceed
		w.WriteHeader(204)
	})
	c := newClient(t, u.URL, func(config *bridge.Config) { config.Timeout = time.Minute }) // profiles take their time
	var traced, cpu bytes.Buffer
	if err := trace.Start(&traced); err != nil {
		t.Skip(err) // go test -trace
	}
	errCPU := pprof.StartCPUProfile(&cpu) // fails under go test -cpuprofile
	answer := make(chan int)
	go func() { answer <- c.send("DELETE", "/auth/sessions/"+session, "").status }()
	<-reached
	for _, profile := range pprof.Profiles() {
		for debug := range 3 {
			var out bytes.Buffer
			if err := profile.WriteTo(&out, debug); err != nil {
				t.Fatal(err)
			}
			assertNoCanary(t, "profile "+profile.Name(), unpacked(t, out.Bytes()))
		}
	}
	close(proceed)
	if got := <-answer; got != 204 {
		t.Errorf("answer = %d, want 204", got)
	}
	trace.Stop()
	if errCPU == nil {
		pprof.StopCPUProfile()
	}
	assertNoCanary(t, "the execution trace", traced.String())
	assertNoCanary(t, "the CPU profile", unpacked(t, cpu.Bytes()))
}

// unpacked is b without its compression, if it has one.
func unpacked(t *testing.T, b []byte) string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return string(b)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestPanicsHoldNoSecret has everything panic that an app plugs into the
// bridge, with the secret in its hand: the client gets an answer, and what is
// printed of the panic is only where it was.
func TestPanicsHoldNoSecret(t *testing.T) {
	for name, change := range map[string]func(*bridge.Config){
		"Authenticate": func(c *bridge.Config) {
			c.Authenticate = func(*http.Request) (bridge.User, error) { panic("secret " + canary) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t, nil)
			c := newClient(t, u.URL, change)
			c.server.Config.ErrorLog = slog.NewLogLogger(slog.NewJSONHandler(c.log, nil), slog.LevelWarn)
			assertRefused(t, u, c.send("GET", anyGet, ""), 500, "BRIDGE_INTERNAL")
			if !strings.Contains(c.log.String(), `"msg":"panic"`) {
				t.Errorf("the log says nothing of a panic:\n%s", c.log.String())
			}
		})
	}
}

// TestSubmissionsAreKeptFromOperators sends every request with secrets for its
// texts, has Grid answer with others, and looks for all of them in what operators
// see: log, audit, metrics and traces. What Redis holds has to be the payload that
// the signature will be over, and nothing else.
func TestSubmissionsAreKeptFromOperators(t *testing.T) {
	everySample(t, func(t *testing.T, s sample) {
		shared := redistest.Start(t)
		seenBy := &recorder{}
		secrets := []string{requestID}
		hide := func(text string) string {
			for _, name := range []string{
				"oidcToken", "encryptedOtpBundle", "credentialId", "clientDataJson", "authenticatorData", "signature", "nickname", "challenge",
				"otpEncryptionTargetBundle", "encryptedSessionSigningKey", "encryptedWalletCredentials",
			} {
				if before, rest, ok := strings.Cut(text, `"`+name+`":"`); ok {
					_, after, _ := strings.Cut(rest, `"`)
					secret := fmt.Sprintf("hidden-%s-%d", name, len(secrets))
					secrets = append(secrets, secret)
					text = before + `"` + name + `":"` + secret + `"` + after
				}
			}
			return text
		}
		if s.op == signer.OpVerifyCredential {
			s.terminal = `{"accountId":"` + alice + `","encryptedSessionSigningKey":""}`
		}
		s.body, s.issued, s.terminal = hide(s.body), hide(s.issued), hide(s.terminal)
		var submitted struct{ OIDCToken string }
		json.Unmarshal([]byte(s.body), &submitted)
		s.payload = strings.Replace(s.payload, "h.p.s", submitted.OIDCToken, 1)
		status := s.op.Route().Status
		u := newUpstream(t, answers(status, s.terminal))
		c := newClient(t, u.URL, func(c *bridge.Config) {
			c.Observer, c.Store = seenBy, openRedis(t, shared.Addr, c)
		})
		signed := c.begin(u, s)
		if got := c.sendSample(s, signed...); got.status != status {
			t.Errorf("answer = %d %s, want %d", got.status, got.body, status)
		}
		c.sendSample(s, signed...) // which may be refused, as is what follows
		s.body += ","
		if got := c.sendSample(s, signed...); got.status != 400 {
			t.Errorf("answer = %d %s, want 400", got.status, got.body)
		}
		if len(signed) > 0 {
			secrets = append(secrets, strings.TrimPrefix(signed[0], "Grid-Wallet-Signature: "))
		}
		c.server.Close()
		seen := map[string]string{"the log": c.log.String(), "the observer": seenBy.String(), "Redis": dumpOf(t, shared)}
		if seen["the observer"] == "" {
			t.Fatal("the observer was told nothing")
		}
		for where, text := range seen {
			for _, secret := range secrets {
				if strings.Contains(text, secret) && !(where == "Redis" && strings.Contains(s.payload, secret)) {
					t.Errorf("%s holds %s:\n%s", where, secret, text)
				}
			}
		}
	})
}

// TestRedirectsAreNotRelayed has Grid and the app redirect to an address with
// the secret in it.
func TestRedirectsAreNotRelayed(t *testing.T) {
	redirect := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://elsewhere.example/?secret="+url.QueryEscape(canary), http.StatusTemporaryRedirect)
	}
	app := httptest.NewServer(http.HandlerFunc(redirect))
	defer app.Close()
	authenticate, err := identity.NewForwardAuth(identity.ForwardAuth{URL: app.URL})
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]struct {
		change func(*bridge.Config)
		status int
	}{"Grid": {func(*bridge.Config) {}, 502}, "the app": {func(c *bridge.Config) { c.Authenticate = authenticate }, 401}} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, newUpstream(t, redirect).URL, v.change)
			if got := c.send("DELETE", "/auth/sessions/"+session, ""); got.status != v.status || got.header.Get("Location") != "" { // client looks for the secret
				t.Errorf("answer = %d with Location %q, want %d and none", got.status, got.header.Get("Location"), v.status)
			}
		})
	}
}

// FuzzSecrets sends arbitrary requests and looks for the secret, which some of
// them hold, in whatever comes back, is logged or is counted.
func FuzzSecrets(f *testing.F) {
	f.Add("GET", anyGet, "Authorization: Bearer alice", "")
	f.Add("DELETE", "/auth/sessions/"+session, "X-Gridsigner: 1", "")
	f.Add("POST", "/auth/credentials/"+method+"/verify", "Content-Type: application/json", verifyBody)
	f.Add("POST", "/auth/credentials/"+email+"/verify", "Content-Type: application/json", codeBody("EMAIL_OTP", `"`+canaryPart+`"`))
	f.Add("POST", "/auth/credentials/"+passkey+"/challenge", "Content-Type: application/json", askPasskey)
	f.Add("POST", "/internal-accounts/"+alice+"/export", "Content-Type: application/json", sealingKey)
	f.Add("POST", "/auth/credentials", "Content-Type: application/json", passkeyBody(canary))
	f.Add("GET", "/%2e%2e/%00\r\nHost: "+canary, "Cookie: "+canary[:8], "\x00")
	f.Add(canary, "/"+canary+"?"+canary, canary+": "+canary, canary)
	f.Add("DELETE", "/auth/sessions/"+canary, "Origin: https://"+canary, "")
	f.Add("POST", "/auth/credentials/"+method+"/verify", "Traceparent: "+canary, `{"a":"`+canary+`"}`)
	u := newUpstream(f, respondJSON(200, `{}`))
	seenBy := &recorder{}
	c := newClient(f, u.URL, func(config *bridge.Config) { config.Observer = seenBy })
	handler := c.server.Config.Handler
	f.Fuzz(func(t *testing.T, methodName, path, line, body string) {
		r := httptest.NewRequest("GET", "/", strings.NewReader(body))
		r.Method = methodName
		r.URL.Path, r.URL.RawQuery, _ = strings.Cut("/api/grid"+path, "?")
		r.Header.Set("Authorization", "Bearer alice")
		r.Header.Set("X-Gridsigner", "1")
		name, value, _ := strings.Cut(line, ":")
		r.Header.Set(name, strings.TrimSpace(value))
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		var headers strings.Builder
		w.Header().Write(&headers)
		assertNoCanary(t, "an answer", headers.String()+w.Body.String())
		assertNoCanary(t, "the log", c.log.take())
		assertNoCanary(t, "the observer", seenBy.take())
		if w.Code < 200 || w.Code > 599 {
			t.Errorf("status = %d", w.Code)
		}
		u.tap.received()
	})
}
