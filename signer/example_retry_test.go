//go:build !js

package signer_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"gridsigner/bridge/gridsim"
	"gridsigner/signer"
)

// perform carries out what retry asks for. base is Grid's URL, or that of a
// bridge; client adds the credentials that it wants, and follows no redirect.
// key is nil for an operation that is not signed.
func perform(client *http.Client, base string, retry *signer.Retry, key *signer.Key) signer.Done {
	for {
		switch step := retry.Next().(type) {
		case signer.Send:
			answer, err := send(client, base, step)
			if err != nil {
				retry.Failed(time.Now(), err)
			} else {
				retry.Answered(time.Now(), answer)
			}
		case signer.Sign:
			options := signer.SignOptions{Intent: step.Intent}
			retry.Signed(signer.SignChallenge(context.Background(), key, step.Challenge, options, time.Now()))
		case signer.Wait:
			time.Sleep(step.For)
			retry.Waited()
		case signer.Done:
			return step
		}
	}
}

func send(client *http.Client, base string, step signer.Send) (answer signer.Response, err error) {
	request, err := http.NewRequest(step.Method, base+step.Path, strings.NewReader(step.Body))
	if err != nil {
		return answer, err
	}
	if step.Body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for name, value := range map[string]string{signer.HeaderSignature: step.Signature, signer.HeaderRequestID: step.RequestID} {
		if value != "" {
			request.Header.Set(name, value)
		}
	}
	response, err := client.Do(request)
	if err != nil {
		return answer, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20+1))
	return signer.Response{Status: response.StatusCode, RetryAfter: response.Header.Get("Retry-After"), Body: body}, err
}

// grid is Grid, in whose place the simulator stands, for a program that knows its credentials.
type grid struct {
	gridsim.Seed
	url    string
	client *http.Client
}

func newGrid(config gridsim.Config) (grid, func()) {
	sim, err := gridsim.New(config)
	if err != nil {
		log.Fatal(err)
	}
	server, seed := httptest.NewServer(sim), sim.Seed()
	return grid{seed, server.URL, &http.Client{
		Transport:     basicAuth{seed.ClientID, seed.ClientSecret},
		Timeout:       10 * time.Second, // of one request
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, server.Close
}

// answer has what the examples need of Grid's.
type answer struct{ ID, OTPEncryptionTargetBundle string }

// do performs one operation, signed by key, and prints what became of it.
func (g grid) do(op signer.Operation, p signer.Params, key *signer.Key) (a answer) {
	retry, err := signer.NewRetry(op, p, time.Now().Add(time.Minute), rand.Float64)
	if err != nil {
		log.Fatal(err)
	}
	done := perform(g.client, g.url, retry, key)
	if done.Err != nil {
		log.Fatal(done.Err)
	}
	fmt.Println(op+":", done.Status)
	if done.Body != nil {
		err = json.Unmarshal(done.Body, &a)
	}
	if err != nil {
		log.Fatal(err)
	}
	return a
}

// A Go program signs in, stays signed in and signs out: every operation is driven by the same few
// lines, perform and send.
func ExampleRetry() {
	grid, closeGrid := newGrid(gridsim.Config{})
	defer closeGrid()

	key, err := signer.GenerateP256()
	if err != nil {
		log.Fatal(err)
	}
	session := grid.do(signer.OpVerifyCredential, signer.Params{
		ID: grid.CredentialID, Account: grid.AccountID,
		Body: object("type", "OAUTH", "oidcToken", oidcToken(grid.OIDC, key.Public()), "clientPublicKey", key.Public().String()),
	}, nil)

	// Before its time is up: a new key and session. The old one lives on until it
	// is revoked, which any session of the account may do.
	next, err := signer.GenerateP256()
	if err != nil {
		log.Fatal(err)
	}
	refreshed := grid.do(signer.OpRefreshSession, signer.Params{
		ID: session.ID, Account: grid.AccountID,
		Body: object("clientPublicKey", next.Public().String()),
	}, key)
	grid.do(signer.OpRevokeSession, signer.Params{ID: session.ID}, next)
	key.Destroy()

	grid.do(signer.OpRevokeSession, signer.Params{ID: refreshed.ID}, next)
	grid.do(signer.OpRevokeSession, signer.Params{ID: refreshed.ID}, next)
	next.Destroy()

	// Output:
	// verify-credential: verified
	// refresh-session: refreshed
	// revoke-session: revoked
	// revoke-session: revoked
	// revoke-session: inactive
}

// oidcToken is what a provider issues to whoever signs in, for this key alone:
// its nonce is the hash of the key's text. Grid's sandbox, and the simulator, do
// not look at its signature.
func oidcToken(who gridsim.OIDCIdentity, key signer.PublicKey) string {
	now, nonce := time.Now().Unix(), sha256.Sum256([]byte(key.String()))
	claims := fmt.Sprintf(`{"iss":%q,"aud":%q,"sub":%q,"iat":%d,"exp":%d,"nonce":"%s"}`,
		who.Issuer, who.Audience, who.Subject, now, now+300, hex.EncodeToString(nonce[:]))
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256"}`)) + "." + encode([]byte(claims)) + ".c2ln"
}

// object is a JSON object of texts, given as names and values by turns.
func object(texts ...string) string {
	fields := map[string]string{}
	for i := 0; i < len(texts); i += 2 {
		fields[texts[i]] = texts[i+1]
	}
	body, _ := json.Marshal(fields) // which cannot fail
	return string(body)
}

// basicAuth adds Grid's API credentials. A program that talks to a bridge adds
// its user's instead, and X-Gridsigner: 1.
type basicAuth struct{ id, secret string }

func (a basicAuth) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.SetBasicAuth(a.id, a.secret)
	return http.DefaultTransport.RoundTrip(r)
}
