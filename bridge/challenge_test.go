package bridge_test

import (
	"crypto/elliptic"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gridsigner/bridge"
	"gridsigner/signer"
)

func TestChallengeMustFitTheRoute(t *testing.T) {
	activity := func(typ, parameters string) string {
		return challengeOf(`{"organizationId":"org","parameters":`+parameters+`,"timestampMs":"1","type":"ACTIVITY_TYPE_`+typ+`"}`, requestID)
	}
	// The input of a JWT's signature and that of a Bitcoin transaction's (an
	// example of BIP 143): what a session key must not sign for anybody.
	const (
		jwtInput = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJzb21lb25lIn0"
		sighash  = "0100000096b827c8483d4e9b96712b6713a7b68d6e8003a781feba36c31143470b4efd3752b0a642eea2fb7ae638c36f6252b6750293dbe574a806984b8e4d8548339a3bef51e1b804cc89d182d279655c3aa89e815b1b309fe287d9b2b55d57b90ec68a010000001976a9141d0f172a0ecb48aee1be1f2687d2963ae33f71a188ac0046c32300000000ffffffff863ef3e1a92afbfdb97f31ad0fc7683ee943e9abcf2501590ff8f6551f47e5e51100000001000000"
	)
	raw, err := hex.DecodeString(sighash)
	if err != nil {
		t.Fatal(err)
	}
	runes := make([]rune, len(raw))
	for i, b := range raw {
		runes[i] = rune(b)
	}
	tests := []struct {
		name, body string
		ok         bool
	}{
		{"revocation", challengeOf(payload, requestID), true},
		{"input of a JWT's signature", challengeOf(jwtInput, requestID), false},
		{"input of a Bitcoin signature", challengeOf(string(runes), requestID), false},
		{"input of a Bitcoin signature in hex", challengeOf(sighash, requestID), false},
		{"a sentence", challengeOf("sign me please", requestID), false},
		{"base64 without padding", challengeOf("cGF5bG9hZA", requestID), false},
		{"opaque", challengeOf("cGF5bG9hZA==", requestID), true},
		{"bare request id", challengeOf(payload, strings.TrimPrefix(requestID, "Request:")), true},
		{"payment", activity("SIGN_TRANSACTION_V2", `{"unsignedTransaction":"00"}`), false},
		{"export", activity("EXPORT_WALLET", `{"targetPublicKey":"04","walletId":"w"}`), false},
		{"new session", activity("CREATE_READ_WRITE_SESSION_V2", `{"targetPublicKey":"02"}`), false},
		{"two keys", activity("DELETE_API_KEYS", `{"apiKeyIds":["a","b"],"userId":"u"}`), false},
		{"one parameter more", activity("DELETE_API_KEYS", `{"apiKeyIds":["a"],"userId":"u","x":1}`), false},
		{"type twice", challengeOf(strings.Replace(payload, `{`, `{"type":"ACTIVITY_TYPE_EXPORT_WALLET",`, 1), requestID), false},
		{"JWT", challengeOf("eyJhbGciOiJFUzI1NiJ9.e30.AAAA", requestID), false},
		{"no payload", `{"requestId":"` + requestID + `","expiresAt":"2026-08-22T10:05:00Z"}`, false},
		{"request id of another form", challengeOf(payload, "1"), false},
		{"payload twice", strings.Replace(challengeOf(payload, requestID), "{", `{"payloadToSign":"x",`, 1), false},
	}
	for _, v := range tests {
		t.Run(v.name, func(t *testing.T) {
			u := newUpstream(t, nil)
			u.challenge.Store(&v.body)
			got := newClient(t, u.URL).send("DELETE", "/auth/sessions/"+session, "")
			if v.ok && (got.status != 202 || got.body != v.body) {
				t.Errorf("answer = %d %s, want 202 %s", got.status, got.body, v.body)
			}
			if !v.ok && (got.status != 502 || got.code != "BRIDGE_CHALLENGE_REFUSED") {
				t.Errorf("answer = %d %s, want 502 BRIDGE_CHALLENGE_REFUSED", got.status, got.body)
			}
		})
	}
	t.Run("route that has none", func(t *testing.T) {
		u := newUpstream(t, nil)
		body := challengeOf(payload, requestID)
		u.challenge.Store(&body)
		got := newClient(t, u.URL).send("POST", "/auth/credentials/"+method+"/verify", verifyBody)
		if got.status != 502 || got.code != "BRIDGE_CHALLENGE_REFUSED" {
			t.Errorf("answer = %d %s, want 502 BRIDGE_CHALLENGE_REFUSED", got.status, got.body)
		}
	})
}

// TestPayloads asks for a challenge of each kind under each of the settings.
func TestPayloads(t *testing.T) {
	activity, opaque := challengeOf(payload, requestID), challengeOf("cGF5bG9hZA==", requestID)
	for _, v := range []struct {
		payloads signer.Payloads
		body     string
		status   int
	}{
		{"", opaque, 202},
		{signer.PayloadsAll, opaque, 202},
		{signer.PayloadsActivities, activity, 202},
		{signer.PayloadsActivities, opaque, 502},
	} {
		u := newUpstream(t, nil)
		u.challenge.Store(&v.body)
		got := newClient(t, u.URL, func(config *bridge.Config) { config.Payloads = v.payloads }).send("DELETE", "/auth/sessions/"+session, "")
		if got.status != v.status || v.status == 202 && got.body != v.body || v.status != 202 && (got.code != "BRIDGE_CHALLENGE_REFUSED" || strings.Contains(got.body, "cGF5")) {
			t.Errorf("%q: answer to %s = %d %s, want %d", v.payloads, v.body, got.status, got.body, v.status)
		}
	}
}

// twoUsers lets "X-User: mallory" be Mallory and everybody else Alice, both of
// them owners of Alice's accounts: only the person tells them apart.
func twoUsers(config *bridge.Config) {
	config.Authenticate = func(r *http.Request) (bridge.User, error) {
		if r.Header.Get("X-User") == "mallory" {
			return bridge.User{ID: "user-mallory", Accounts: []string{alice, aliceToo}}, nil
		}
		return bridge.User{ID: "user-alice", Accounts: []string{alice, aliceToo}}, nil
	}
}

func TestSignedLegIsChecked(t *testing.T) {
	const otherID = "Request:00000000-0000-0000-0000-000000000001"
	path := "/auth/sessions/" + session
	good := sign(t, challengeOf(payload, requestID), signer.FormatAuto)
	der := sign(t, challengeOf(payload, requestID), signer.FormatDER)
	wrong := sign(t, challengeOf(otherPayload, requestID), signer.FormatStamp)
	tests := []struct {
		name, path string
		lines      []string
		status     int
		code       string // "" for let pass
	}{
		{"stamp", path, good, 204, ""},
		{"escaped path", strings.Replace(path, ":", "%3A", 1), good, 204, ""},
		{"DER", path, der, 204, ""},
		{"over another payload", path, wrong, 401, "BRIDGE_SIGNATURE_INVALID"},
		{"another session", "/auth/sessions/" + secondary, good, 401, "BRIDGE_CHALLENGE_UNKNOWN"},
		{"another request id", path, []string{good[0], "Request-Id: " + otherID}, 401, "BRIDGE_CHALLENGE_UNKNOWN"},
		{"request id in lower case", path, []string{good[0], strings.ToLower("Request-Id: " + requestID)}, 400, "BRIDGE_INPUT_INVALID"},
		{"another user", path, append([]string{"X-User: mallory"}, good...), 401, "BRIDGE_CHALLENGE_UNKNOWN"},
		{"neither form", path, []string{"Grid-Wallet-Signature: " + signature, good[1]}, 400, "BRIDGE_SIGNATURE_MALFORMED"},
		{"padded stamp", path, []string{good[0] + "=", good[1]}, 400, "BRIDGE_SIGNATURE_MALFORMED"},
		{"cut DER", path, []string{der[0][:len(der[0])-4], der[1]}, 400, "BRIDGE_SIGNATURE_MALFORMED"},
	}
	for _, v := range tests {
		t.Run(v.name, func(t *testing.T) {
			u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
			c := newClient(t, u.URL, twoUsers)
			c.send("DELETE", "/auth/sessions/"+secondary, "") // its owner is known, too
			c.firstLeg(u, requestID)
			got := c.send("DELETE", v.path, "", v.lines...)
			if v.code != "" {
				assertRefused(t, u, got, v.status, v.code)
				if got := c.send("DELETE", path, "", good...); got.status != 204 {
					t.Errorf("the good signature afterwards = %d %s, want 204", got.status, got.body)
				}
			} else if got.status != v.status {
				t.Errorf("answer = %d %s, want %d", got.status, got.body, v.status)
			}
		})
	}
}

func TestSignaturePassesOnce(t *testing.T) {
	path := "/auth/sessions/" + session
	tests := []struct {
		name   string
		answer http.HandlerFunc
		status int // of the first signed leg
		again  bool
	}{
		{"done", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) }, 204, false},
		{"refused", respondJSON(401, `{"status":401,"code":"WALLET_SIGNATURE_INVALID","message":"m"}`), 401, false},
		{"busy", respondJSON(503, `{"status":503,"code":"X","message":"m"}`), 503, false},
		{"lost", func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }, 502, false},
		{"processing", respondJSON(200, `{"status":"PROCESSING","message":"m"}`), 200, true},
		{"another 200", respondJSON(200, `{"status":"DONE"}`), 502, false},
		{"another 200 of the account's", respondJSON(200, ofAlice), 200, false},
	}
	for _, v := range tests {
		t.Run(v.name, func(t *testing.T) {
			u := newUpstream(t, v.answer)
			c := newClient(t, u.URL)
			signed := c.firstLeg(u, requestID)
			for i := range 3 {
				got := c.send("DELETE", path, "", signed...)
				if i == 0 || v.again {
					if got.status != v.status {
						t.Errorf("signed leg %d = %d %s, want %d", i+1, got.status, got.body, v.status)
					}
					u.tap.received()
					continue
				}
				assertRefused(t, u, got, 409, "BRIDGE_SIGNATURE_REPLAYED")
			}
		})
	}
}

// TestTwinSignatureIsTheSame passes on a signature, and then its twin: n-s is as
// good as s, so whoever saw a signature has two.
func TestTwinSignatureIsTheSame(t *testing.T) {
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	c := newClient(t, u.URL)
	signed := c.firstLeg(u, requestID)
	if got := c.send("DELETE", "/auth/sessions/"+session, "", signed...); got.status != 204 {
		t.Fatalf("signed leg = %d %s, want 204", got.status, got.body)
	}
	u.tap.received()
	stamp, err := signer.ParseStamp(strings.TrimPrefix(signed[0], "Grid-Wallet-Signature: "))
	if err != nil {
		t.Fatal(err)
	}
	var rs struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(stamp.Signature, &rs); err != nil {
		t.Fatal(err)
	}
	rs.S.Sub(elliptic.P256().Params().N, rs.S)
	der, err := asn1.Marshal(rs)
	if err != nil {
		t.Fatal(err)
	}
	if !stamp.PublicKey.Verify([]byte(payload), der) {
		t.Fatal("the twin does not verify: nothing is tested")
	}
	stampText := fmt.Sprintf(`{"publicKey":"%s","scheme":"SIGNATURE_SCHEME_TK_API_P256","signature":"%x"}`, stamp.PublicKey, der)
	for name, value := range map[string]string{
		"stamp": base64.RawURLEncoding.EncodeToString([]byte(stampText)), "DER": base64.StdEncoding.EncodeToString(der),
	} {
		t.Run(name, func(t *testing.T) {
			c.t = t
			assertRefused(t, u, c.send("DELETE", "/auth/sessions/"+session, "", "Grid-Wallet-Signature: "+value, signed[1]), 409, "BRIDGE_SIGNATURE_REPLAYED")
		})
	}
}

// TestBlanksMakeNoOtherSignature passes on a stamp, and then the same with other
// blanks between its tokens, and other members first.
func TestBlanksMakeNoOtherSignature(t *testing.T) {
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	c := newClient(t, u.URL)
	signed := c.firstLeg(u, requestID)
	stamp, err := signer.ParseStamp(strings.TrimPrefix(signed[0], "Grid-Wallet-Signature: "))
	if err != nil {
		t.Fatal(err)
	}
	spell := func(format string) string {
		text := fmt.Sprintf(format, stamp.PublicKey, stamp.PublicKey.Curve().Scheme(), stamp.Signature)
		return "Grid-Wallet-Signature: " + base64.RawURLEncoding.EncodeToString([]byte(text))
	}
	python := spell(`{"publicKey": "%s", "scheme": "%s", "signature": "%x"}`)
	if got := c.send("DELETE", "/auth/sessions/"+session, "", python, signed[1]); got.status != 204 {
		t.Fatalf("signed leg = %d %s, want 204", got.status, got.body)
	}
	u.tap.received()
	for name, again := range map[string]string{
		"compact": signed[0], "the same": python,
		"other blanks": spell("\t{\"publicKey\" :\"%s\",\r\n\"scheme\": \"%s\" , \"signature\":\"%x\"}\n"),
		"other order":  spell(`{"scheme": "%[2]s", "signature": "%[3]x", "publicKey": "%[1]s"}`),
	} {
		t.Run(name, func(t *testing.T) {
			c.t = t
			assertRefused(t, u, c.send("DELETE", "/auth/sessions/"+session, "", again, signed[1]), 409, "BRIDGE_SIGNATURE_REPLAYED")
		})
	}
}

// TestSignaturePassesOnceAtATime sends the identical signed leg from many
// clients at once.
func TestSignaturePassesOnceAtATime(t *testing.T) {
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	c := newClient(t, u.URL)
	signed := c.firstLeg(u, requestID)
	statuses := make(chan int)
	for range 16 {
		go func() { statuses <- c.send("DELETE", "/auth/sessions/"+session, "", signed...).status }()
	}
	count := map[int]int{}
	for range 16 {
		count[<-statuses]++
	}
	if count[204] != 1 || count[409] != 15 {
		t.Errorf("answers = %v, want one 204 and fifteen 409", count)
	}
}

func TestChallengeIsForgotten(t *testing.T) {
	var now clock
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	c := newClient(t, u.URL, func(config *bridge.Config) { config.Now = now.time })
	signed := c.firstLeg(u, requestID)
	now.advance(15 * time.Minute)
	assertRefused(t, u, c.send("DELETE", "/auth/sessions/"+session, "", signed...), 401, "BRIDGE_CHALLENGE_UNKNOWN")
}

func respondJSON(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// clock is a time that a test moves. The zero value reads 10:00.
type clock struct{ moved atomic.Int64 }

func (c *clock) time() time.Time {
	return time.Date(2026, 8, 22, 10, 0, 0, 0, time.UTC).Add(time.Duration(c.moved.Load()))
}

func (c *clock) advance(d time.Duration) { c.moved.Add(int64(d)) }
