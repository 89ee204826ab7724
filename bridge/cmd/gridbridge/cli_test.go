package main

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gridsigner/signer"
)

// gridCLI sends the requests that Grid's own command line sends (grid-api, cli/src):
// ids as they are, a Content-Type only with a body, and both headers of a signed
// retry or neither.
type gridCLI struct {
	t *testing.T
	ready
}

// request returns the status and the body, which is empty but for JSON.
func (c gridCLI) request(method, path, body string, signed ...string) (status int, answer map[string]any) {
	c.t.Helper()
	req, err := http.NewRequest(method, c.URL+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.SetBasicAuth(c.ClientID, c.ClientSecret)
	req.Header.Set("Accept", "application/json")
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if len(signed) == 2 {
		req.Header.Set("Grid-Wallet-Signature", signed[0])
		req.Header.Set("Request-Id", signed[1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &answer); err != nil {
			c.t.Fatalf("%s %s: %d %q: %v", method, path, resp.StatusCode, text, err)
		}
	}
	return resp.StatusCode, answer
}

// signed runs a command twice: for the challenge, whose payload must be what the
// signer signs for the intent, and with --wallet-signature and --request-id.
func (c gridCLI) signed(key signingKey, intent signer.Intent, want int, method, path, body string) map[string]any {
	c.t.Helper()
	status, challenge := c.request(method, path, body)
	payload, _ := challenge["payloadToSign"].(string)
	requestID, _ := challenge["requestId"].(string)
	if status != 202 || payload == "" || requestID == "" {
		c.t.Fatalf("%s %s: %d %v, want a challenge", method, path, status, challenge)
	}
	parsed, err := signer.ParsePayload(payload)
	if err == nil {
		err = intent.Accept(parsed, signer.PublicKey{})
	}
	if err != nil {
		c.t.Errorf("%s %s: %v: %s", method, path, err, payload)
	}
	status, answer := c.request(method, path, body, key.header("modern", payload), requestID)
	if status != want {
		c.t.Fatalf("%s %s, signed: %d %v, want %d", method, path, status, answer, want)
	}
	return answer
}

// oidcToken is a token of the seeded identity's issuer for somebody. Like Grid's
// sandbox, the simulator does not look at its signature.
func (c gridCLI) oidcToken(subject, clientPublicKey string) string {
	nonce := sha256.Sum256([]byte(clientPublicKey))
	claims, err := json.Marshal(map[string]any{
		"iss": c.OIDC.Issuer, "aud": c.OIDC.Audience, "sub": subject, "nonce": hex.EncodeToString(nonce[:]),
		"iat": time.Now().Unix(), "exp": time.Now().Unix() + 600,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return "e30." + base64.RawURLEncoding.EncodeToString(claims) + ".c2ln"
}

// verify is "auth credentials verify".
func (c gridCLI) verify(credential, subject string, key signingKey) (session string) {
	c.t.Helper()
	status, answer := c.request("POST", "/auth/credentials/"+credential+"/verify",
		fmt.Sprintf(`{"type":"OAUTH","oidcToken":"%s","clientPublicKey":"%s"}`, c.oidcToken(subject, key.public), key.public))
	if status != 200 {
		c.t.Fatalf("verify: %d %v", status, answer)
	}
	return answer["id"].(string)
}

// list is "auth sessions list" and "auth credentials list".
func (c gridCLI) list(path string) (ids []string) {
	c.t.Helper()
	status, answer := c.request("GET", path+"?"+url.Values{"accountId": {c.AccountID}}.Encode(), "")
	if status != 200 {
		c.t.Fatalf("list: %d %v", status, answer)
	}
	for _, row := range answer["data"].([]any) {
		ids = append(ids, row.(map[string]any)["id"].(string))
	}
	return ids
}

// TestGridCLI runs the commands of Grid's own CLI that are signed. That what is
// to be signed is what the signer takes for each is seen here too: the simulator
// knows nothing of the signer.
func TestGridCLI(t *testing.T) {
	t.Parallel()
	c := gridCLI{t, start(t, nil, "simulate", "--json").ready()}
	first, second, fresh := newKey(t, "P-256"), newKey(t, "P-256"), newKey(t, "P-256")
	session := c.verify(c.CredentialID, c.OIDC.Subject, first)

	// auth sessions refresh SESSION --client-public-key KEY, whose help asks for an
	// uncompressed one.
	refreshed := c.signed(first, signer.Intent{Name: signer.RefreshSession, TargetPublicKey: fresh.public}, 201, "POST", "/auth/sessions/"+session+"/refresh", `{"clientPublicKey":"`+fresh.public+`"}`)
	if id := refreshed["id"]; id == session || refreshed["encryptedSessionSigningKey"] != nil {
		t.Errorf("refreshed = %v", refreshed)
	}
	to, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	uncompressed := hex.EncodeToString(to.PublicKey().Bytes())
	refreshed = c.signed(first, signer.Intent{Name: signer.RefreshSession, TargetPublicKey: uncompressed}, 201,
		"POST", "/auth/sessions/"+session+"/refresh", `{"clientPublicKey":"`+uncompressed+`"}`)
	if refreshed["encryptedSessionSigningKey"] == nil {
		t.Errorf("refreshed with an uncompressed key = %v", refreshed)
	}

	// auth credentials create --type TYPE --account-id ACCOUNT
	add := func(kind signer.CredentialType, submitted string) signer.Intent {
		return signer.Intent{Name: signer.AddCredential, Credential: kind, Submitted: submitted}
	}
	token := c.oidcToken("second", "")
	added := c.signed(first, add(signer.OAuth, token), 201, "POST", "/auth/credentials",
		fmt.Sprintf(`{"type":"OAUTH","accountId":"%s","oidcToken":"%s"}`, c.AccountID, token))
	for kind, contact := range map[signer.CredentialType]string{signer.EmailOTP: "ada@example.com", signer.SMSOTP: "+12025550123"} {
		otp := c.signed(first, add(kind, contact), 201, "POST", "/auth/credentials", fmt.Sprintf(`{"type":"%s","accountId":"%s"}`, kind, c.AccountID))
		if otp["otpEncryptionTargetBundle"] == nil {
			t.Errorf("%s = %v", kind, otp)
		}
	}

	// auth credentials revoke CREDENTIAL, by a session of another one
	other := c.verify(added["id"].(string), "second", second)
	c.signed(second, signer.Intent{Name: signer.RemoveCredential, Credential: signer.OAuth}, 204, "DELETE", "/auth/credentials/"+c.CredentialID, "")
	if got := c.list("/auth/sessions"); len(got) != 1 || got[0] != other {
		t.Errorf("sessions = %v, want %s", got, other)
	}
	if got := c.list("/auth/credentials"); len(got) != 3 || got[0] != added["id"] {
		t.Errorf("credentials = %v, want the three that were added", got)
	}

	// auth sessions revoke SESSION
	c.signed(second, signer.Intent{Name: signer.RevokeSession}, 204, "DELETE", "/auth/sessions/"+other, "")
}
