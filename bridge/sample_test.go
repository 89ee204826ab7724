package bridge_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"gridsigner/signer"
)

const (
	clientKey = "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"
	otherKey  = "03c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"

	ofAlice = `{"accountId":"` + alice + `"}`

	bundle      = `"sealed code"`
	sealingKey  = `{"clientPublicKey":"` + uncompressed + `"}`
	wallet      = `{"id":"` + alice + `","encryptedWalletCredentials":"sealed wallet"}`
	askPasskey  = `{"clientPublicKey":"` + clientKey + `"}`
	ofPasskey   = `{"id":"` + passkey + `","accountId":"` + alice + `","type":"PASSKEY","credentialId":"c","challenge":"00","requestId":"` + requestID + `","expiresAt":"2026-08-22T10:05:00Z"}`
	sentByEmail = `{"id":"` + email + `","accountId":"` + alice + `","type":"EMAIL_OTP","otpEncryptionTargetBundle":"{}"}`
	sentByPhone = `{"id":"` + phone + `","accountId":"` + alice + `","type":"SMS_OTP","otpEncryptionTargetBundle":"{}"}`

	uncompressed = "04c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee51ae168fea63dc339a3c58419466ceaeef7f632653266d0e1236431a950cfe52a"
)

// assertion is a passkey's, with credential as the id that it has there.
func assertion(credential string) string {
	return `{"assertion":{"credentialId":"` + credential + `","clientDataJson":"d","authenticatorData":"a","signature":"s"},"type":"PASSKEY"}`
}

// codeBody submits a code, sealed.
func codeBody(typ, bundle string) string {
	return `{"encryptedOtpBundle":` + bundle + `,"type":"` + typ + `"}`
}

// sample is a request that passes all checks of input.
type sample struct {
	op       signer.Operation
	id, body string
	other    string // another such body
	payload  string // what Grid has signed for it
	terminal string // body of Grid's last word
	issued   string // the challenge of [requestID] that it answers, "" for none
}

func activity(typ, parameters string) string {
	return `{"organizationId":"org","parameters":` + parameters + `,"timestampMs":"1775681700000","type":"ACTIVITY_TYPE_` + typ + `"}`
}

// samples has at least one of each operation: see [everySample].
var samples = []sample{
	{op: signer.OpListSessions, id: alice, terminal: `{"data":[]}`},
	{op: signer.OpListCredentials, id: alice, terminal: `{"data":[]}`},
	{op: signer.OpRevokeSession, id: session, payload: payload},
	{op: signer.OpRefreshSession, id: session, body: `{"clientPublicKey":"` + clientKey + `"}`, other: `{"clientPublicKey":"` + otherKey + `"}`,
		payload: activity("CREATE_READ_WRITE_SESSION_V2", `{"targetPublicKey":"`+clientKey+`"}`), terminal: ofAlice},
	{op: signer.OpAddCredential, body: `{"type":"EMAIL_OTP","accountId":"` + alice + `"}`, other: `{"type":"EMAIL_OTP","accountId":"` + aliceToo + `"}`,
		payload: activity("UPDATE_USER_EMAIL", `{"userEmail":"a@b.c","userId":"user"}`), terminal: ofAlice},
	{op: signer.OpAddCredential, body: `{"type":"SMS_OTP","accountId":"` + alice + `"}`, other: `{"type":"EMAIL_OTP","accountId":"` + alice + `"}`,
		payload: activity("UPDATE_USER_PHONE_NUMBER", `{"userId":"user","userPhoneNumber":"+1"}`), terminal: ofAlice},
	{op: signer.OpAddCredential, body: `{"type":"OAUTH","accountId":"` + alice + `","oidcToken":"h.p.s"}`, other: `{"type":"OAUTH","accountId":"` + alice + `","oidcToken":"h.p.t"}`,
		payload: activity("CREATE_OAUTH_PROVIDERS", `{"oauthProviders":[{"oidcToken":"h.p.s","providerName":"n"}],"userId":"user"}`), terminal: ofAlice},
	{op: signer.OpAddCredential, body: passkeyBody("Laptop"), other: passkeyBody("laptop"),
		payload: activity("CREATE_AUTHENTICATORS_V2", `{"authenticators":[{"attestation":{"attestationObject":"o","clientDataJson":"d","credentialId":"c"},"authenticatorName":"Laptop","challenge":"x","transports":["internal"]}],"userId":"user"}`), terminal: ofAlice},
	{op: signer.OpRemoveCredential, id: method, payload: activity("DELETE_OAUTH_PROVIDERS", `{"providerIds":["p"],"userId":"user"}`)},
	{op: signer.OpRemoveCredential, id: passkey, payload: activity("DELETE_AUTHENTICATORS", `{"authenticatorIds":["a"],"userId":"user"}`)},
	{op: signer.OpRemoveCredential, id: email, payload: activity("UPDATE_USER_EMAIL", `{"userEmail":"","userId":"user"}`)},
	{op: signer.OpRemoveCredential, id: phone, payload: activity("UPDATE_USER_PHONE_NUMBER", `{"userId":"user","userPhoneNumber":""}`)},
	{op: signer.OpChallengeCredential, id: email, body: `{}`, terminal: sentByEmail},
	{op: signer.OpChallengeCredential, id: phone, body: `{}`, terminal: sentByPhone},
	{op: signer.OpChallengeCredential, id: passkey, body: askPasskey, terminal: ofPasskey},
	{op: signer.OpVerifyCredential, id: method, body: verifyBody, other: strings.Replace(verifyBody, clientKey, otherKey, 1), terminal: ofAlice},
	{op: signer.OpVerifyCredential, id: email, body: codeBody("EMAIL_OTP", bundle), other: codeBody("EMAIL_OTP", `"other"`), payload: verification, terminal: ofAlice},
	{op: signer.OpVerifyCredential, id: phone, body: codeBody("SMS_OTP", bundle), other: codeBody("SMS_OTP", `"other"`), payload: verification, terminal: ofAlice},
	{op: signer.OpVerifyCredential, id: passkey, body: assertion("c"), other: assertion("d"), terminal: ofAlice, issued: ofPasskey},
	{op: signer.OpExportWallet, id: alice, body: sealingKey, other: strings.Replace(sealingKey, "ee51", "EE51", 1),
		payload: activity("EXPORT_WALLET", `{"targetPublicKey":"`+uncompressed+`","walletId":"w"}`), terminal: wallet},
}

// verification is the token of a code: {"alg":"ES256"}, {} and a signature.
const verification = "eyJhbGciOiJFUzI1NiJ9.e30.AAAA"

const verifyBody = `{"type":"OAUTH","clientPublicKey":"` + clientKey + `","oidcToken":"h.p.s"}`

func passkeyBody(nickname string) string {
	return `{"type":"PASSKEY","accountId":"` + alice + `","challenge":"x","attestation":{"attestationObject":"o","clientDataJson":"d","credentialId":"c","transports":["internal"]},"nickname":"` + nickname + `"}`
}

// path is that of the request, with id in place of the one that it takes.
func (s sample) path(id string) string {
	before, rest, _ := strings.Cut(s.op.Route().Path, "{")
	_, after, _ := strings.Cut(rest, "}")
	return before + id + after
}

// credential is the type under which Grid lists the credential of s.
func (s sample) credential() signer.CredentialType {
	return map[string]signer.CredentialType{method: signer.OAuth, passkey: signer.Passkey, email: signer.EmailOTP, phone: signer.SMSOTP}[s.id]
}

// text is the request as sent by Alice's browser, with further header lines.
func (s sample) text(lines ...string) string {
	text := s.op.Route().Method + " /api/grid" + s.path(s.id) + " HTTP/1.1\r\nHost: app.example\r\nAuthorization: Bearer alice\r\n"
	if s.body != "" {
		text += "Content-Type: application/json\r\nContent-Length: " + itoa(len(s.body)) + "\r\n"
	}
	if s.issued != "" {
		text += "Request-Id: " + requestID + "\r\n"
	}
	return text + strings.Join(append(lines, "\r\n"), "\r\n") + s.body
}

func (c *client) sendSample(s sample, lines ...string) reply {
	c.t.Helper()
	return c.raw(s.text(append(lines, "X-Gridsigner: 1")...))
}

// everySample walks the samples and wants one of each operation, so that a new
// one is tested unasked.
func everySample(t *testing.T, f func(t *testing.T, s sample)) {
	for _, op := range signer.Operations() {
		if !slices.ContainsFunc(samples, func(s sample) bool { return s.op == op && (s.payload != "") == (op.Route().Intent != "") }) {
			t.Errorf("no sample of %s: add one", op)
		}
	}
	for _, s := range samples {
		t.Run(strings.TrimSpace(string(s.op)+" "+string(s.credential())), func(t *testing.T) { f(t, s) })
	}
}

// everySigned walks those that Grid answers with a challenge.
func everySigned(t *testing.T, f func(t *testing.T, s sample)) {
	everySample(t, func(t *testing.T, s sample) {
		if s.payload != "" {
			f(t, s)
		}
	})
}

// stamp is the pair of headers that answers a challenge, whatever it asks for:
// made without the signer, which would refuse.
func stamp(t *testing.T, payload, requestID string) []string {
	t.Helper()
	return stampBy(t, newKey(t), payload, requestID)
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// pointOf is the public half of key, compressed.
func pointOf(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte{2 + point[64]&1}, point[1:33]...)
}

func stampBy(t *testing.T, key *ecdsa.PrivateKey, payload, requestID string) []string {
	t.Helper()
	digest := sha256.Sum256([]byte(payload))
	der, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`{"publicKey":"%x","scheme":"SIGNATURE_SCHEME_TK_API_P256","signature":"%x"}`, pointOf(t, key), der)
	return []string{"Grid-Wallet-Signature: " + base64.RawURLEncoding.EncodeToString([]byte(text)), "Request-Id: " + requestID}
}

// begin makes what comes before the last leg of s, if anything does, and returns
// the headers of that, but for those that s itself has.
func (c *client) begin(u *upstream, s sample) []string {
	c.t.Helper()
	if s.issued != "" {
		ask := sample{op: signer.OpChallengeCredential, id: s.id, body: askPasskey}
		u.challenge.Store(&s.issued)
		defer u.challenge.Store(nil)
		if got := c.sendSample(ask); got.status != 200 || got.body != s.issued {
			c.t.Fatalf("challenge = %d %s, want 200 %s", got.status, got.body, s.issued)
		}
		u.tap.received()
	}
	if s.payload == "" {
		return nil
	}
	challenge := challengeOf(s.payload, requestID)
	u.challenge.Store(&challenge)
	defer u.challenge.Store(nil)
	if got := c.sendSample(s); got.status != 202 || got.body != challenge {
		c.t.Fatalf("first leg = %d %s, want 202 %s", got.status, got.body, challenge)
	}
	u.tap.received()
	return stamp(c.t.(*testing.T), s.payload, requestID)
}

// wire is what upstream receives of a request, all of it.
func (u *upstream) wire(methodName, path, body string, lines ...string) string {
	text := methodName + " " + version + path + " HTTP/1.1\r\nHost: " + u.Listener.Addr().String() + "\r\nUser-Agent: gridbridge\r\n"
	if body != "" {
		text += "Content-Length: " + itoa(len(body)) + "\r\n"
	}
	text += "Accept: application/json\r\nAuthorization: Basic " + base64.StdEncoding.EncodeToString([]byte(clientID+":"+canary)) + "\r\n"
	if body != "" {
		text += "Content-Type: application/json\r\n"
	}
	for _, line := range lines {
		text += line + "\r\n"
	}
	return text + "\r\n" + body
}

// answers writes a body with a status, or none with 204.
func answers(status int, body string) http.HandlerFunc {
	if status == http.StatusNoContent {
		return func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) }
	}
	return respondJSON(status, body)
}
