package gridsim

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	secpecdsa "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

// world is a simulator behind real HTTP with more in it than the seed: account A
// is seeded with credential 1, and has credential 2; account X is another one.
type world struct {
	t     testing.TB
	sim   *Sim
	url   string
	clock *fakeClock

	sealsForPasskeys bool
}

const (
	credential1 = seedCredentialID
	credential2 = "AuthMethod:00000000-0000-0000-0000-00000000000b"
	credentialX = "AuthMethod:00000000-0000-0000-0000-0000000000ff"
	accountX    = "InternalAccount:00000000-0000-0000-0000-0000000000ff"
	clientID    = "client"
	secret      = "s3cret:with colon"
)

var identities = map[string]OIDCIdentity{
	credential1: seedIdentity,
	credential2: {"https://appleid.apple.com", "com.example.app", "2"},
	credentialX: {"https://accounts.google.com", "gridsim.apps.example.com", "3"},
}

type fakeClock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *fakeClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func newWorld(t testing.TB, cfg Config) *world {
	t.Helper()
	clock := &fakeClock{t: time.Date(2026, 8, 22, 10, 0, 0, 0, time.UTC)}
	cfg.Now, cfg.ClientID, cfg.ClientSecret = clock.now, clientID, secret
	sim, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*credential{
		{id: credential2, nickname: "second", account: sim.accounts[seedAccountID]},
		{id: credentialX, nickname: "other", account: sim.addAccount(accountX, "org_x", "user_x")},
	} {
		c.kind, c.payloadID, c.created, c.identity = typeOAuth, "credential_x", clock.now(), identities[c.id]
		sim.keepCredential(c)
	}
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	return &world{t: t, sim: sim, url: server.URL, clock: clock}
}

// answer is what came back. body is nil if there was none.
type answer struct {
	status int
	header http.Header
	raw    []byte
	body   map[string]any
}

func (a answer) code() string { s, _ := a.body["code"].(string); return s }

func (a answer) reason() reason {
	details, _ := a.body["details"].(map[string]any)
	s, _ := details["reason"].(string)
	return reason(s)
}

// text is a top-level string field.
func (a answer) text(name string) string { s, _ := a.body[name].(string); return s }

// send makes a request with the right credentials, unless headers, which are
// names and values by turns, hold an Authorization of their own.
func (w *world) send(method, path, body string, headers ...string) answer {
	w.t.Helper()
	r, err := http.NewRequest(method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.SetBasicAuth(clientID, secret)
	replaced := make(map[string]bool)
	for i := 0; i < len(headers); i += 2 {
		name := http.CanonicalHeaderKey(headers[i])
		if !replaced[name] {
			r.Header.Del(name)
			replaced[name] = true
		}
		r.Header.Add(name, headers[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	// Only what starts a session for an uncompressed key has key material in it, and
	// the body of a passkey does not tell for which key it does.
	mayHold := strings.Contains(body, `"clientPublicKey":"04`) || w.sealsForPasskeys
	if !mayHold && bytes.Contains(raw, []byte("encryptedSessionSigningKey")) {
		w.t.Errorf("there is key material in %s", raw)
	}
	return w.decode(response.StatusCode, response.Header, raw)
}

// decode reads an answer and checks what every answer must hold.
func (w *world) decode(status int, header http.Header, raw []byte) answer {
	w.t.Helper()
	a := answer{status: status, header: header, raw: raw}
	if status == http.StatusNoContent {
		if len(raw) != 0 {
			w.t.Errorf("a 204 has the body %q", raw)
		}
		return a
	}
	if got := header.Get("Content-Type"); got != "application/json" {
		w.t.Errorf("Content-Type = %q", got)
	}
	if err := json.Unmarshal(raw, &a.body); err != nil {
		w.t.Fatalf("%d %q: %v", status, raw, err)
	}
	if status >= 400 {
		if a.body["status"] != float64(status) || a.code() == "" || a.text("message") == "" {
			w.t.Errorf("%d with the envelope %s", status, raw)
		}
	}
	return a
}

// want checks status and code; an empty code is for success.
func (a answer) want(t testing.TB, status int, code string) {
	t.Helper()
	if a.status != status || a.code() != code {
		t.Errorf("got %d %q (%s), want %d %q", a.status, a.code(), a.reason(), status, code)
	}
}

// key is a client's key, made and used without the simulator's code.
type key struct {
	public string // compressed hex
	scheme string
	order  *big.Int
	sign   func(digest []byte) []byte // DER
}

func newP256(t testing.TB) key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return p256Key(t, private)
}

func p256Key(t testing.TB, private *ecdsa.PrivateKey) key {
	t.Helper()
	uncompressed, err := private.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	compressed := append([]byte{2 + uncompressed[64]&1}, uncompressed[1:33]...)
	return key{hex.EncodeToString(compressed), "SIGNATURE_SCHEME_TK_API_P256", elliptic.P256().Params().N, func(digest []byte) []byte {
		der, err := ecdsa.SignASN1(rand.Reader, private, digest)
		if err != nil {
			t.Error(err)
		}
		return der
	}}
}

func newK256(t testing.TB) key {
	t.Helper()
	private, err := secp256k1.GeneratePrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	public := hex.EncodeToString(private.PubKey().SerializeCompressed())
	return key{public, "SIGNATURE_SCHEME_TK_API_SECP256K1", secp256k1.Params().N, func(digest []byte) []byte {
		return secpecdsa.Sign(private, digest).Serialize()
	}}
}

// newKeyOn makes keys until one has an x that is on the other curve, or is not.
func newKeyOn(t testing.TB, make func(testing.TB) key, other *curve, also bool) key {
	t.Helper()
	for {
		k := make(t)
		raw, err := hex.DecodeString(k.public)
		if err != nil {
			t.Fatal(err)
		}
		if other.contains(compressedKey(raw)) == also {
			return k
		}
	}
}

func (k key) der(payload string) []byte {
	digest := sha256.Sum256([]byte(payload))
	return k.sign(digest[:])
}

// stamp signs the payload in today's format.
func (k key) stamp(payload string) string {
	return encodeStamp(k.public, k.scheme, hex.EncodeToString(k.der(payload)))
}

// ragged is a stamp whose base64url lacks padding.
func (k key) ragged(payload string) string {
	for {
		if stamp := k.stamp(payload); len(stamp)%4 != 0 {
			return stamp
		}
	}
}

// padded is the same stamp in base64url with its padding.
func (k key) padded(payload string) string {
	stamp := k.ragged(payload)
	return stamp + strings.Repeat("=", -len(stamp)&3)
}

func encodeStamp(publicKey, scheme, signature string) string {
	return encode(`{"publicKey":"` + publicKey + `","scheme":"` + scheme + `","signature":"` + signature + `"}`)
}

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// legacy signs the payload in the format of April 2026.
func (k key) legacy(payload string) string {
	return base64.StdEncoding.EncodeToString(k.der(payload))
}

type integers struct{ R, S *big.Int }

// flipS returns the signature with the other s, and whether that one is high.
func (k key) flipS(t testing.TB, der []byte) (flipped []byte, high bool) {
	t.Helper()
	var sig integers
	if _, err := asn1.Unmarshal(der, &sig); err != nil {
		t.Fatal(err)
	}
	sig.S.Sub(k.order, sig.S)
	flipped, err := asn1.Marshal(sig)
	if err != nil {
		t.Fatal(err)
	}
	return flipped, sig.S.Cmp(new(big.Int).Rsh(k.order, 1)) > 0
}

func nonce(clientPublicKey string) string {
	sum := sha256.Sum256([]byte(clientPublicKey))
	return hex.EncodeToString(sum[:])
}

// claims are those of a good token for the credential and the key.
func (w *world) claims(credential, clientPublicKey string) map[string]any {
	identity, now := identities[credential], w.clock.now().Unix()
	return map[string]any{
		"iss": identity.Issuer, "aud": identity.Audience, "sub": identity.Subject,
		"iat": now, "exp": now + 3600, "nonce": nonce(clientPublicKey), "email": "ada@example.com",
	}
}

// jwt makes a token. Its signature is rubbish, which the sandbox does not mind.
func jwt(t testing.TB, claims map[string]any) string {
	t.Helper()
	raw, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return encode(`{"alg":"RS256","typ":"JWT"}`) + "." + encode(string(raw)) + ".c2ln"
}

// with returns the claims with one replaced, or without it if value is nil.
func with(claims map[string]any, name string, value any) map[string]any {
	claims = maps.Clone(claims)
	claims[name] = value
	if value == nil {
		delete(claims, name)
	}
	return claims
}

func verifyPath(credential string) string { return "/auth/credentials/" + credential + "/verify" }

func verifyBody(oidcToken, clientPublicKey string) string {
	return `{"type":"OAUTH","oidcToken":"` + oidcToken + `","clientPublicKey":"` + clientPublicKey + `"}`
}

// verify posts an OAUTH verification with these claims.
func (w *world) verify(credential string, k key, claims map[string]any) answer {
	w.t.Helper()
	return w.send("POST", verifyPath(credential), verifyBody(jwt(w.t, claims), k.public))
}

// signIn starts a session of the key and returns the session's id.
func (w *world) signIn(credential string, k key) string {
	w.t.Helper()
	a := w.verify(credential, k, w.claims(credential, k.public))
	if a.status != http.StatusOK {
		w.t.Fatalf("sign-in: %d %s", a.status, a.raw)
	}
	return a.text("id")
}

func sessionPath(id string) string { return "/auth/sessions/" + id }

// leg1 asks for a challenge.
func (w *world) leg1(method, path, body string) (payload, requestID string) {
	w.t.Helper()
	a := w.send(method, path, body)
	if a.status != http.StatusAccepted {
		w.t.Fatalf("leg 1: %d %s", a.status, a.raw)
	}
	return a.text("payloadToSign"), a.text("requestId")
}

// signed goes through both legs.
func (w *world) signed(k key, method, path, body string) answer {
	w.t.Helper()
	payload, id := w.leg1(method, path, body)
	return w.send(method, path, body, headerSignature, k.stamp(payload), headerRequestID, id)
}

// challenge is leg 1 of revoking a session.
func (w *world) challenge(session string) (payload, requestID string) {
	w.t.Helper()
	return w.leg1("DELETE", sessionPath(session), "")
}

// revoke is leg 2.
func (w *world) revoke(session, signature, requestID string) answer {
	w.t.Helper()
	return w.send("DELETE", sessionPath(session), "", headerSignature, signature, headerRequestID, requestID)
}

// listed returns the ids of the active sessions of an account.
func (w *world) listed(account string) []string {
	w.t.Helper()
	a := w.send("GET", "/auth/sessions?accountId="+account, "")
	a.want(w.t, http.StatusOK, "")
	ids := []string{}
	rows, _ := a.body["data"].([]any)
	for _, row := range rows {
		ids = append(ids, row.(map[string]any)["id"].(string))
	}
	return ids
}

// everything returns both lists of the account, as text.
func (w *world) everything() string {
	w.t.Helper()
	return string(w.send("GET", "/auth/sessions?accountId="+seedAccountID, "").raw) +
		string(w.send("GET", "/auth/credentials?accountId="+seedAccountID, "").raw)
}
