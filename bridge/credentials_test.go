package bridge_test

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gridsigner/bridge"
)

// source is where credentials come from, under the test's control.
type source struct {
	now    clock
	asked  atomic.Int32
	answer atomic.Pointer[func() (string, bridge.Secret, error)]
	log    lockedBuffer

	mu     sync.Mutex
	events []bridge.Event
}

func (s *source) answers(f func() (string, bridge.Secret, error)) { s.answer.Store(&f) }

// gives is a source that has the secret.
func gives(secret string) func() (string, bridge.Secret, error) {
	return func() (string, bridge.Secret, error) { return "id", bridge.NewSecret(secret), nil }
}

// headerOf is the header with the secret.
func headerOf(secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte("id:"+secret))
}

// credentials are those of a bridge that has read the secret "one".
func (s *source) credentials(t *testing.T) interface {
	Header() string
	Renew(ctx context.Context, refused string) bool
} {
	t.Helper()
	s.answers(gives("one"))
	c, err := bridge.CredentialsOf(bridge.Config{
		Credentials: func() (string, bridge.Secret, error) {
			s.asked.Add(1)
			return (*s.answer.Load())()
		},
		Authenticate: func(*http.Request) (bridge.User, error) { return bridge.User{}, nil },
		Now:          s.now.time,
		Log:          slog.New(slog.NewJSONHandler(&s.log, nil)),
	}, func(e bridge.Event) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.events = append(s.events, e)
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// happened are the events since the last call.
func (s *source) happened() []bridge.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.events = nil }()
	return s.events
}

// event is what a read is reported with.
func event(reason bridge.Reason) bridge.Event {
	return bridge.Event{Kind: bridge.EventCredentials, Reason: reason}
}

// TestCredentialsChange wants them read once in ten seconds, in the background, the
// last ones kept while they cannot be read, and each read reported.
func TestCredentialsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s source
		c := s.credentials(t)
		for i, v := range []struct {
			answer func() (string, bridge.Secret, error)
			want   string
			event  bridge.Event
		}{
			{gives("two"), "two", event("")},
			{func() (string, bridge.Secret, error) {
				return "", bridge.Secret{}, errors.New("no vault takes " + canary)
			}, "two", event(bridge.ReasonUnknown)},
			{func() (string, bridge.Secret, error) { return "", bridge.Secret{}, os.ErrPermission }, "two", event(bridge.ReasonDenied)},
			{gives(""), "two", event(bridge.ReasonForm)},
			{func() (string, bridge.Secret, error) { panic("secret " + canary) }, "two", event("panic")},
			{gives("three"), "three", event("")},
		} {
			s.answers(v.answer)
			s.now.advance(10 * time.Second)
			s.log.take()
			for range 3 { // the first has them read
				c.Header()
				synctest.Wait()
			}
			if got := c.Header(); got != headerOf(v.want) {
				t.Errorf("step %d: header = %s, want %s", i, got, headerOf(v.want))
			}
			if got := int(s.asked.Load()); got != i+2 {
				t.Errorf("step %d: asked %d times, want %d", i, got, i+2)
			}
			if got := s.happened(); !slices.Equal(got, []bridge.Event{v.event}) {
				t.Errorf("step %d: events = %v, want %v", i, got, v.event)
			}
			log := s.log.take()
			assertNoCanary(t, "the log", log)
			if got := strings.Count(log, "credentials not read"); (got == 1) != (v.event.Reason != "") || got > 1 {
				t.Errorf("step %d: log = %s", i, log)
			}
		}
	})
}

// TestCredentialsThatHang has a source that does not answer: the last ones stay, one
// read waits, that is said once, and nobody waits with it for long.
func TestCredentialsThatHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s source
		c := s.credentials(t)
		release := make(chan struct{})
		s.answers(func() (string, bridge.Secret, error) {
			<-release
			return gives("two")()
		})
		for range 5 {
			s.now.advance(10 * time.Second)
			if got := c.Header(); got != headerOf("one") {
				t.Errorf("header = %s, want %s", got, headerOf("one"))
			}
			synctest.Wait()
		}
		begin := time.Now()
		if c.Renew(t.Context(), headerOf("one")) || time.Since(begin) != 0 { // of the bubble
			t.Errorf("renewed, or waited for %s", time.Since(begin))
		}
		if got, events := s.asked.Load(), s.happened(); got != 2 || !slices.Equal(events, []bridge.Event{event(bridge.ReasonTimeout)}) {
			t.Errorf("asked %d times, events %v; want 2 and one that says timeout", got, events)
		}
		close(release)
		synctest.Wait()
		if got := c.Header(); got != headerOf("two") {
			t.Errorf("header = %s, want %s", got, headerOf("two"))
		}
		if got := s.happened(); !slices.Equal(got, []bridge.Event{event("")}) {
			t.Errorf("events = %v, want one that says nothing is wrong", got)
		}
	})
}

// TestCredentialsRenewed has Grid refuse a header: the next ones are read at once, but
// not for every refusal.
func TestCredentialsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s source
		c := s.credentials(t)
		s.answers(gives("two"))
		if c.Renew(t.Context(), headerOf("one")) || s.asked.Load() != 1 {
			t.Errorf("within a second: renewed, or asked %d times", s.asked.Load())
		}
		s.now.advance(time.Second)
		if !c.Renew(t.Context(), headerOf("one")) || c.Header() != headerOf("two") {
			t.Errorf("header = %s, want %s", c.Header(), headerOf("two"))
		}
		s.now.advance(time.Second)
		if !c.Renew(t.Context(), headerOf("one")) || s.asked.Load() != 2 { // a request that was under way
			t.Errorf("renewed already: not said, or asked %d times, want 2", s.asked.Load())
		}
		if c.Renew(t.Context(), headerOf("two")) || s.asked.Load() != 3 {
			t.Errorf("the same again: said to be others, or asked %d times, want 3", s.asked.Load())
		}

		// One that is under way is joined, and is waited for as long as the caller or
		// two seconds allow.
		release := make(chan struct{})
		s.answers(func() (string, bridge.Secret, error) {
			<-release
			return gives("three")()
		})
		s.now.advance(time.Second)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		begin := time.Now()
		if c.Renew(gone, headerOf("two")) || time.Since(begin) != 0 {
			t.Errorf("for nobody: renewed, or waited for %s", time.Since(begin))
		}
		if c.Renew(t.Context(), headerOf("two")) || time.Since(begin) != 2*time.Second {
			t.Errorf("renewed, or waited for %s, want 2s", time.Since(begin))
		}
		joined := make(chan bool)
		for range 3 {
			go func() { joined <- c.Renew(t.Context(), headerOf("two")) }()
		}
		synctest.Wait()
		close(release)
		for range 3 {
			if !<-joined {
				t.Error("who waited is not told that they are others")
			}
		}
		if got := s.asked.Load(); got != 4 {
			t.Errorf("asked %d times, want 4", got)
		}
	})
}

// TestConstantCredentials have nothing to read again.
func TestConstantCredentials(t *testing.T) {
	var now clock
	c, err := bridge.CredentialsOf(bridge.Config{
		ClientID: "id", ClientSecret: bridge.NewSecret("one"), Now: now.time,
		Authenticate: func(*http.Request) (bridge.User, error) { return bridge.User{}, nil },
	}, func(e bridge.Event) { t.Errorf("event %v", e) })
	if err != nil {
		t.Fatal(err)
	}
	now.advance(time.Hour)
	if c.Renew(t.Context(), headerOf("one")) || c.Header() != headerOf("one") {
		t.Errorf("header = %s, want %s", c.Header(), headerOf("one"))
	}
}

// TestCredentialsAreOnePair replaces both files, as Kubernetes does, after each part of
// a reading in turn: no pair is half old and half new.
func TestCredentialsAreOnePair(t *testing.T) {
	for after := range 6 { // variables asked for in a reading: four
		dir := t.TempDir()
		for name, generation := range map[string]string{"1": "old", "2": "new"} {
			for _, part := range []string{"id", "secret"} {
				if err := errors.Join(os.MkdirAll(filepath.Join(dir, name), 0o700), os.WriteFile(filepath.Join(dir, name, part), []byte(part+"-"+generation), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
		}
		link := filepath.Join(dir, "data")
		if err := os.Symlink("1", link); err != nil {
			t.Fatal(err)
		}
		asked := 0
		id, secret, err := bridge.CredentialsFromEnv(func(name string) string {
			if asked == after {
				if err := errors.Join(os.Symlink("2", link+"-next"), os.Rename(link+"-next", link)); err != nil {
					t.Fatal(err)
				}
			}
			asked++
			return map[string]string{"GRID_CLIENT_ID_FILE": filepath.Join(link, "id"), "GRID_CLIENT_SECRET_FILE": filepath.Join(link, "secret")}[name]
		})
		if err != nil {
			t.Fatal(err)
		}
		_, generation, _ := strings.Cut(id, "-")
		if got, want := bridge.BasicOf(id, secret), bridge.BasicOf(id, bridge.NewSecret("secret-"+generation)); got != want {
			t.Errorf("replaced after %d: %s with another secret", after, id)
		}
	}
}

// TestCredentialsThatKeepChanging are refused: no reading of them is to be trusted.
func TestCredentialsThatKeepChanging(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	asked := 0
	_, _, err := bridge.CredentialsFromEnv(func(name string) string {
		asked++
		if err := os.WriteFile(file, []byte(canary+itoa(asked)), 0o600); err != nil {
			t.Fatal(err)
		}
		return map[string]string{"GRID_CLIENT_ID": "id", "GRID_CLIENT_SECRET_FILE": file}[name]
	})
	if err == nil || !strings.Contains(err.Error(), "change while they are read") {
		t.Fatalf("error = %v, want one that says so", err)
	}
	assertNoCanary(t, "the error", err.Error())
}

// TestCredentialsWarnings names the variables of files that everybody can read or
// write, and not what is in them.
func TestCredentialsWarnings(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"closed": 0o600, "group": 0o640, "open": 0o644, "writable": 0o602} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte(canary), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range []struct {
		id, secret string
		want       []string
	}{
		{"closed", "group", nil},
		{"open", "open", []string{"GRID_CLIENT_ID_FILE", "GRID_CLIENT_SECRET_FILE"}},
		{"closed", "writable", []string{"GRID_CLIENT_SECRET_FILE"}},
		{"none", "none", nil}, // for CredentialsFromEnv to refuse
	} {
		got := bridge.CredentialsWarnings(func(name string) string {
			return map[string]string{"GRID_CLIENT_ID_FILE": filepath.Join(dir, v.id), "GRID_CLIENT_SECRET_FILE": filepath.Join(dir, v.secret)}[name]
		})
		ok := len(got) == len(v.want)
		for i := range min(len(got), len(v.want)) {
			ok = ok && strings.Contains(got[i], v.want[i])
		}
		if !ok {
			t.Errorf("%s and %s: %q, want %q", v.id, v.secret, got, v.want)
		}
		assertNoCanary(t, "a warning", strings.Join(got, ""))
	}
	if got := bridge.CredentialsWarnings(func(string) string { return "" }); got != nil {
		t.Errorf("of variables: %q", got)
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
	pipe := filepath.Join(dir, "pipe") // which nobody writes to: opening it would not end
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
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
		{"no regular file", map[string]string{"GRID_CLIENT_ID": "the-id", "GRID_CLIENT_SECRET_FILE": dir}, []string{"GRID_CLIENT_SECRET_FILE", "not a regular file"}},
		{"pipe", map[string]string{"GRID_CLIENT_ID": "the-id", "GRID_CLIENT_SECRET_FILE": pipe}, []string{"GRID_CLIENT_SECRET_FILE", "not a regular file"}},
		{"blank after", map[string]string{"GRID_CLIENT_ID": "the-id", "GRID_CLIENT_SECRET_FILE": file("after", canary+" \n")}, []string{"GRID_CLIENT_SECRET_FILE begins or ends with a blank"}},
		{"blank before", map[string]string{"GRID_CLIENT_ID": "the-id", "GRID_CLIENT_SECRET_FILE": file("before", "\t"+canary)}, []string{"GRID_CLIENT_SECRET_FILE begins or ends with a blank"}},
		{"byte order mark", map[string]string{"GRID_CLIENT_ID": "the-id", "GRID_CLIENT_SECRET_FILE": file("mark", "\ufeff"+canary)}, []string{"GRID_CLIENT_SECRET_FILE begins or ends with a blank"}},
		{"two line ends", map[string]string{"GRID_CLIENT_ID": "the-id", "GRID_CLIENT_SECRET_FILE": file("lines", canary+"\n\n")}, []string{"more than one line end"}},
		{"blanks in variables", map[string]string{"GRID_CLIENT_ID": "the-id ", "GRID_CLIENT_SECRET": " " + canary}, []string{"GRID_CLIENT_ID begins", "GRID_CLIENT_SECRET begins"}},
		{"blank within", map[string]string{"GRID_CLIENT_ID": "the-id", "GRID_CLIENT_SECRET_FILE": secret}, nil}, // the canary has one
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

// TestKeyFromEnv reads the secret of all replicas: by what is derived from it, as nothing
// else shows it.
func TestKeyFromEnv(t *testing.T) {
	own := strings.Repeat("k", 32)
	for name, v := range map[string]struct {
		env  map[string]string
		want string // "" for an error
	}{
		"none": {nil, canary}, "variable": {map[string]string{"GRIDBRIDGE_KEY": own}, own},
		"short": {map[string]string{"GRIDBRIDGE_KEY": own[1:]}, ""}, "two": {map[string]string{"GRIDBRIDGE_KEY": own, "GRIDBRIDGE_KEY_FILE": "/x"}, ""},
	} {
		key, err := bridge.KeyFromEnv(func(name string) string { return v.env[name] }, bridge.NewSecret(canary))
		if (err == nil) != (v.want != "") || err == nil && bridge.AuditHash(key, "id") != bridge.AuditHash(bridge.NewSecret(v.want), "id") {
			t.Errorf("%s: error = %v, or another key", name, err)
		}
	}
}
