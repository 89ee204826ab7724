package main

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"gridsigner/signer"
)

// payload is what a revocation asks to be signed.
const payload = `{"organizationId":"org","parameters":{"apiKeyIds":["key"],"userId":"user"},"timestampMs":"1775681700000","type":"ACTIVITY_TYPE_DELETE_API_KEYS"}`

// revocable is a Grid in which each account has one session, with its number,
// that can be revoked again and again. It checks nothing: it must not be what
// is measured.
func revocable() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch account := r.URL.Query().Get("accountId"); {
		case account != "":
			fmt.Fprintf(w, `{"data":[{"id":"%s","accountId":"%s"}]}`, session(account), account)
		case r.Header.Get(signer.HeaderRequestID) != "":
			w.WriteHeader(http.StatusNoContent)
		default:
			w.WriteHeader(http.StatusAccepted)
			fmt.Fprintf(w, `{"type":"OAUTH","payloadToSign":%q,"requestId":"Request:%s","expiresAt":"%s"}`,
				payload, uuid.NewString(), time.Now().Add(5*time.Minute).UTC().Format(time.RFC3339))
		}
	})
}

func session(account string) string { return strings.Replace(account, "InternalAccount", "Session", 1) }

// revocations measures how long users wait for a revocation: both legs, each
// with every check on, without the signature that their browser makes between
// them. Who signs and who answers for Grid are on this machine, too: what it
// does in a second is not what the bridge could.
func revocations(key *ecdsa.PrivateKey, base string, duration time.Duration) error {
	const workers = 16
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}}
	defer client.CloseIdleConnections()
	sessionKey, err := signer.GenerateP256()
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	var took [workers][]time.Duration
	var errs [workers]error
	begin := time.Now()
	for i := range workers {
		all.Go(func() {
			bearer, err := token(key, i)
			for err == nil && time.Since(begin) < duration {
				var legs time.Duration
				if legs, err = revoke(client, base+"/api/grid/auth/sessions/"+session(account(i)), bearer, sessionKey); err == nil {
					took[i] = append(took[i], legs)
				}
			}
			errs[i] = err
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	list := slices.Concat(took[:]...)
	slices.Sort(list)
	fmt.Printf("\ngridbridge, revocations (two legs, one signature) by %d clients: %.0f a second, p50 %s, p99 %s\n", workers,
		float64(len(list))/time.Since(begin).Seconds(), list[len(list)/2].Round(10*time.Microsecond), list[len(list)*99/100].Round(10*time.Microsecond))
	return nil
}

// revoke makes one revocation and returns how long its two legs took.
func revoke(client *http.Client, url, bearer string, key *signer.Key) (legs time.Duration, err error) {
	leg := func(want int, headers map[string]string) ([]byte, error) {
		begin := time.Now()
		defer func() { legs += time.Since(begin) }()
		req, err := http.NewRequest(http.MethodDelete, url, nil)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+bearer)
		req.Header.Set("X-Gridsigner", "1")
		for name, value := range headers {
			req.Header.Set(name, value)
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != want {
			err = fmt.Errorf("answer = %d %s, want %d", resp.StatusCode, body, want)
		}
		return body, err
	}
	body, err := leg(http.StatusAccepted, nil)
	if err != nil {
		return legs, err
	}
	challenge, err := signer.ParseChallenge(body)
	if err != nil {
		return legs, err
	}
	signed, err := signer.SignChallenge(context.Background(), key, challenge, signer.SignOptions{Intent: signer.Intent{Name: signer.RevokeSession}}, time.Now())
	if err != nil {
		return legs, err
	}
	_, err = leg(http.StatusNoContent, map[string]string{signer.HeaderSignature: signed.Header, signer.HeaderRequestID: signed.RequestID})
	return legs, err
}
