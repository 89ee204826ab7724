package main

import (
	"net"
	"strings"
	"testing"
)

// TestCodesArePrinted tests that whoever started the simulator sees the codes
// that it sends, and that nothing but the one line of JSON is where scripts read.
func TestCodesArePrinted(t *testing.T) {
	p := start(t, nil, "simulate", "--json", "--seed-email-otp", "--control")
	c := gridCLI{t, p.ready()}
	if len(c.OTPSigner) != 130 || len(c.ExportSigner) != 130 || c.EmailCredentialID == "" || c.EmailCredentialID == c.CredentialID {
		t.Errorf("seed = %+v", c.Seed)
	}
	c.challenge()
	status, inbox := c.request("GET", "/_sim/inbox", "")
	messages, _ := inbox["data"].([]any)
	if status != 200 || len(messages) != 1 {
		t.Fatalf("inbox = %d %v", status, inbox)
	}
	message := messages[0].(map[string]any)
	code, _ := message["code"].(string)
	if message["to"] != "ada@example.com" || message["credentialId"] != c.EmailCredentialID {
		t.Errorf("message = %v", message)
	}
	if got := p.stderr.String(); len(code) != 6 || !strings.Contains(got, code) || !strings.Contains(got, c.EmailCredentialID) {
		t.Errorf("standard error = %q, want %s in it", got, code)
	}
}

// TestCodesForPeople tests that without --json they are printed with all else.
func TestCodesForPeople(t *testing.T) {
	p := start(t, nil, "simulate", "--seed-email-otp")
	seen := map[string]string{}
	for line := ""; !strings.Contains(line, "Ctrl-C"); {
		line = p.line()
		for _, name := range []string{"simulated Grid", "client id", "client secret", "by e-mail code"} {
			if value, ok := strings.CutPrefix(line, name); ok {
				seen[name] = strings.TrimSpace(value)
			}
		}
	}
	c := gridCLI{t: t}
	c.URL, c.ClientID, c.ClientSecret = seen["simulated Grid"], seen["client id"], seen["client secret"]
	c.EmailCredentialID = seen["by e-mail code"]
	done := make(chan string)
	go func() { done <- p.line() }() // the simulator waits for its reader
	c.challenge()
	if line := <-done; !strings.HasPrefix(line, "code ") || !strings.Contains(line, "ada@example.com") {
		t.Errorf("line = %q, want the code", line)
	}
}

// challenge is "auth credentials challenge".
func (c gridCLI) challenge() {
	c.t.Helper()
	if status, answer := c.request("POST", "/auth/credentials/"+c.EmailCredentialID+"/challenge", ""); status != 200 || answer["otpEncryptionTargetBundle"] == nil {
		c.t.Fatalf("challenge = %d %v", status, answer)
	}
}

// TestDemoSeedsACode tests that the demo's account begins with EMAIL_OTP, as
// Grid's do, unless it is not to.
func TestDemoSeedsACode(t *testing.T) {
	dir := writeSite(t)
	if r := start(t, nil, "demo", "--json", "--listen", "127.0.0.1:0", "--web", dir).ready(); r.EmailCredentialID == "" {
		t.Errorf("seed = %+v", r.Seed)
	}
	if r := start(t, nil, "demo", "--json", "--listen", "127.0.0.1:0", "--web", dir, "--seed-email-otp=false").ready(); r.EmailCredentialID != "" {
		t.Errorf("seed = %+v", r.Seed)
	}
}

type listenerAt struct {
	net.Listener
	addr net.TCPAddr
}

func (l listenerAt) Addr() net.Addr { return &l.addr }

// TestPageOrigin tests that the page has a name, which passkeys need, wherever the
// name leads to it.
func TestPageOrigin(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1": "http://localhost:8787",
		"::1":       "http://localhost:8787",
		"127.0.0.2": "http://127.0.0.2:8787",
	} {
		if got := pageOrigin(listenerAt{addr: net.TCPAddr{IP: net.ParseIP(address), Port: 8787}}); got != want {
			t.Errorf("on %s: %s, want %s", address, got, want)
		}
	}
}
