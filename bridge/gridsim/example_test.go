package gridsim_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"gridsigner/bridge/gridsim"
)

// A client of Grid in a test: it signs in to the seeded account and signs out again. It is made of the
// standard library; whoever has package signer leaves the key, the stamp and the two legs to that.
func Example() {
	sim, err := gridsim.New(gridsim.Config{})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(sim)
	defer server.Close()
	grid := client{server.URL, sim.Seed()} // with the API credentials, the account and its credential

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	session := grid.do("POST", "/auth/credentials/"+grid.CredentialID+"/verify", http.Header{"Content-Type": {"application/json"}},
		`{"type":"OAUTH","oidcToken":"`+oidcToken(grid.OIDC, compressed(key))+`","clientPublicKey":"`+compressed(key)+`"}`)

	path := "/auth/sessions/" + session.ID
	challenge := grid.do("DELETE", path, nil, "")
	grid.do("DELETE", path, http.Header{
		"Request-Id":            {challenge.RequestID},
		"Grid-Wallet-Signature": {stamp(key, challenge.PayloadToSign)},
	}, "")
	grid.do("DELETE", path, nil, "")

	// Output:
	// POST 200
	// DELETE 202
	// DELETE 204
	// DELETE 404
}

type client struct {
	url string
	gridsim.Seed
}

// answer has what the example needs of Grid's.
type answer struct{ ID, RequestID, PayloadToSign string }

// do makes a request and prints how it was answered.
func (c client) do(method, path string, header http.Header, body string) (a answer) {
	request, err := http.NewRequest(method, c.url+path, strings.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	maps.Copy(request.Header, header)
	request.SetBasicAuth(c.ClientID, c.ClientSecret)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	fmt.Println(method, response.StatusCode)
	json.NewDecoder(response.Body).Decode(&a) // a 204 has none
	return a
}

// oidcToken is what the user's provider issues for this key alone. The simulator judges the claims, and
// not the signature: so does Grid's sandbox.
func oidcToken(who gridsim.OIDCIdentity, publicKey string) string {
	nonce, now := sha256.Sum256([]byte(publicKey)), time.Now().Unix()
	claims := fmt.Appendf(nil, `{"iss":%q,"aud":%q,"sub":%q,"iat":%d,"exp":%d,"nonce":"%x"}`, who.Issuer, who.Audience, who.Subject, now, now+300, nonce)
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256"}`)) + "." + encode(claims) + ".c2ln"
}

// stamp signs the payload as it was received, and makes the header of it.
func stamp(key *ecdsa.PrivateKey, payload string) string {
	digest := sha256.Sum256([]byte(payload))
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		log.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil,
		`{"publicKey":"%s","scheme":"SIGNATURE_SCHEME_TK_API_P256","signature":"%x"}`, compressed(key), signature))
}

// compressed is the public key in hex: x, and whether y is odd.
func compressed(key *ecdsa.PrivateKey) string {
	point, err := key.PublicKey.Bytes()
	if err != nil {
		log.Fatal(err)
	}
	return fmt.Sprintf("%02x%x", 2+point[64]&1, point[1:33])
}
