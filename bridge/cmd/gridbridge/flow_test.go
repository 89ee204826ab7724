package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	secpecdsa "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"

	"gridsigner/bridge/gridsim"
)

// signingKey signs as a client would, without any code of package signer.
type signingKey struct {
	public string // compressed, hex
	scheme string
	sign   func(digest []byte) (der []byte)
}

func newKey(t *testing.T, curve string) signingKey {
	t.Helper()
	if curve == "secp256k1" {
		key, err := secp256k1.GeneratePrivateKey()
		if err != nil {
			t.Fatal(err)
		}
		return signingKey{
			hex.EncodeToString(key.PubKey().SerializeCompressed()), "SIGNATURE_SCHEME_TK_API_SECP256K1",
			func(digest []byte) []byte { return secpecdsa.Sign(key, digest).Serialize() },
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	compressed := append([]byte{2 + point[64]&1}, point[1:33]...)
	return signingKey{
		hex.EncodeToString(compressed), "SIGNATURE_SCHEME_TK_API_P256",
		func(digest []byte) []byte {
			der, err := ecdsa.SignASN1(rand.Reader, key, digest)
			if err != nil {
				t.Fatal(err)
			}
			return der
		},
	}
}

// header is Grid-Wallet-Signature for payload in the form of a profile.
func (k signingKey) header(profile, payload string) string {
	digest := sha256.Sum256([]byte(payload))
	der := k.sign(digest[:])
	if profile == string(gridsim.Legacy202604) {
		return base64.StdEncoding.EncodeToString(der)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(
		`{"publicKey":"` + k.public + `","scheme":"` + k.scheme + `","signature":"` + hex.EncodeToString(der) + `"}`))
}

// api is a bridge and a user's way to it.
type api struct {
	t           *testing.T
	base, token string
}

// call sends a request and returns the status and the body, decoded into out
// if there is one.
func (a api) call(method, path string, body any, headers map[string]string, out any) int {
	a.t.Helper()
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			a.t.Fatal(err)
		}
		in = bytes.NewReader(text)
	}
	req, err := http.NewRequest(method, a.base+path, in)
	if err != nil {
		a.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	if method != http.MethodGet {
		req.Header.Set("X-Gridsigner", "1")
	}
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	if out != nil {
		if err := json.Unmarshal(text, out); err != nil {
			a.t.Fatalf("%s %s: %d %q: %v", method, path, resp.StatusCode, text, err)
		}
	} else if resp.StatusCode == 204 && len(text) != 0 {
		a.t.Errorf("204 with a body %q", text)
	}
	return resp.StatusCode
}

// revokeOwnSession signs in with a fresh key, finds the session in the list and
// revokes it: 202, 204, 404.
func (a api) revokeOwnSession(profile string, key signingKey, account, credential, oidcToken string) {
	a.t.Helper()
	var made struct{ ID string }
	if got := a.call("POST", "/auth/credentials/"+credential+"/verify",
		map[string]string{"type": "OAUTH", "oidcToken": oidcToken, "clientPublicKey": key.public}, nil, &made); got != 200 {
		a.t.Fatalf("verify = %d %+v, want 200", got, made)
	}
	var list struct{ Data []struct{ ID string } }
	if got := a.call("GET", "/auth/sessions?accountId="+account, nil, nil, &list); got != 200 || len(list.Data) != 1 || list.Data[0].ID != made.ID {
		a.t.Fatalf("sessions = %d %+v, want 200 with %s", got, list, made.ID)
	}
	path := "/auth/sessions/" + made.ID
	var challenge struct{ PayloadToSign, RequestID string }
	if got := a.call("DELETE", path, nil, nil, &challenge); got != 202 {
		a.t.Fatalf("first leg = %d, want 202", got)
	}
	if bare := !strings.HasPrefix(challenge.RequestID, "Request:"); bare != (profile == string(gridsim.Legacy202604)) {
		a.t.Errorf("requestId = %q in profile %s", challenge.RequestID, profile)
	}
	signed := map[string]string{
		"Grid-Wallet-Signature": key.header(profile, challenge.PayloadToSign),
		"Request-Id":            challenge.RequestID,
	}
	var refusal struct{ Code string }
	wrong := map[string]string{"Grid-Wallet-Signature": key.header(profile, challenge.PayloadToSign+" "), "Request-Id": challenge.RequestID}
	// A header of April 2026 does not name its key: only Grid can tell.
	byBridge := profile != string(gridsim.Legacy202604)
	if got := a.call("DELETE", path, nil, wrong, &refusal); got != 401 || (refusal.Code == "BRIDGE_SIGNATURE_INVALID") != byBridge {
		a.t.Errorf("wrong signature = %d %s, want a 401 of the bridge's: %t", got, refusal.Code, byBridge)
	}
	if got := a.call("DELETE", path, nil, signed, nil); got != 204 {
		a.t.Errorf("signed leg = %d, want 204", got)
	}
	if got := a.call("DELETE", path, nil, nil, &refusal); got != 404 || strings.HasPrefix(refusal.Code, "BRIDGE_") {
		a.t.Errorf("second revocation = %d %s, want Grid's own 404", got, refusal.Code)
	}
	if got := a.call("GET", "/auth/sessions?accountId="+account, nil, nil, &list); got != 200 || len(list.Data) != 0 {
		a.t.Errorf("sessions afterwards = %d %+v, want none", got, list)
	}
}

// eachGeneration runs f for both generations of Grid's API and both curves.
func eachGeneration(t *testing.T, f func(t *testing.T, profile, curve string)) {
	for _, profile := range []gridsim.Profile{gridsim.Modern, gridsim.Legacy202604} {
		for _, curve := range []string{"P-256", "secp256k1"} {
			t.Run(string(profile)+" "+curve, func(t *testing.T) { f(t, string(profile), curve) })
		}
	}
}

// appLogin is the app's own login, whose tokens say who owns what, and the file of its key set.
func appLogin(t *testing.T, seed gridsim.Seed) (idp *identityProvider, jwks string) {
	t.Helper()
	idp, err := newIdentityProvider("https://id.example", seed, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	set, err := idp.keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	jwks = filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(jwks, set, 0o600); err != nil {
		t.Fatal(err)
	}
	return idp, jwks
}

func TestServeAgainstSimulate(t *testing.T) {
	eachGeneration(t, func(t *testing.T, profile, curve string) {
		sim := start(t, nil, "simulate", "--json", "--profile", profile).ready()

		idp, jwks := appLogin(t, sim.Seed)
		secret := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(secret, []byte(sim.ClientSecret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		serve := start(t,
			map[string]string{"GRID_BASE_URL": sim.URL, "GRID_CLIENT_ID": sim.ClientID, "GRID_CLIENT_SECRET_FILE": secret},
			"serve", "--listen", "127.0.0.1:0", "--jwks", jwks, "--issuer", "https://id.example", "--audience", demoAudience)
		base := strings.TrimPrefix(serve.line(), "bridge listening on ")

		key := newKey(t, curve)
		login, err := idp.login(key.public)
		if err != nil {
			t.Fatal(err)
		}
		api{t, base, login.AccessToken}.revokeOwnSession(profile, key, sim.AccountID, sim.CredentialID, login.OIDCToken)

		var refusal struct{ Code string }
		stranger := api{t, base, login.OIDCToken} // a token, but another issuer's
		if got := stranger.call("GET", "/auth/sessions?accountId="+sim.AccountID, nil, nil, &refusal); got != 401 || refusal.Code != "BRIDGE_UNAUTHENTICATED" {
			t.Errorf("another issuer's token = %d %s, want 401 BRIDGE_UNAUTHENTICATED", got, refusal.Code)
		}
		for _, secret := range []string{sim.ClientSecret, login.AccessToken, login.OIDCToken} {
			if strings.Contains(serve.stderr.String(), secret) {
				t.Errorf("the log holds a secret:\n%s", serve.stderr.String())
			}
		}
	})
}

func TestServeWithWrongCredentials(t *testing.T) {
	sim := start(t, nil, "simulate", "--json").ready()
	idp, jwks := appLogin(t, sim.Seed)
	serve := start(t,
		map[string]string{"GRID_BASE_URL": sim.URL, "GRID_CLIENT_ID": sim.ClientID, "GRID_CLIENT_SECRET": "wrong"},
		"serve", "--listen", "127.0.0.1:0", "--jwks", jwks, "--issuer", "https://id.example", "--audience", demoAudience)
	base := strings.TrimPrefix(serve.line(), "bridge listening on ")
	key := newKey(t, "P-256")
	login, err := idp.login(key.public)
	if err != nil {
		t.Fatal(err)
	}
	a := api{t, base, login.AccessToken}
	signed := map[string]string{
		"Grid-Wallet-Signature": key.header("modern", "x"),
		"Request-Id":            "Request:7c4a8d09-ca37-4e3e-9e0d-8c2b3e9a1f21",
	}
	for _, call := range []struct {
		method, path string
		body         any
		headers      map[string]string
	}{
		{"GET", "/auth/sessions?accountId=" + sim.AccountID, nil, nil},
		{"DELETE", "/auth/sessions/Session:7c4a8d09-ca37-4e3e-9e0d-8c2b3e9a1f21", nil, nil},
		{"DELETE", "/auth/sessions/Session:7c4a8d09-ca37-4e3e-9e0d-8c2b3e9a1f21", nil, signed},
		{"POST", "/auth/credentials/" + sim.CredentialID + "/verify", map[string]string{"type": "OAUTH", "oidcToken": login.OIDCToken, "clientPublicKey": key.public}, nil},
	} {
		var refusal struct{ Code string }
		if got := a.call(call.method, call.path, call.body, call.headers, &refusal); got != 502 || refusal.Code != "BRIDGE_UPSTREAM_CREDENTIALS" {
			t.Errorf("%s %s = %d %s, want 502 BRIDGE_UPSTREAM_CREDENTIALS", call.method, call.path, got, refusal.Code)
		}
	}
}
