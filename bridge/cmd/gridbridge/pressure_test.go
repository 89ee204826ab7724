package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"gridsigner/bridge"
	"gridsigner/signer"
)

// witness stands before Grid. It writes down each signed leg that arrives and what Grid
// did, and has some of them be lost on one of their ways.
type witness struct {
	*httptest.Server
	mu   sync.Mutex
	legs []*arrival
}

type arrival struct {
	session, requestID, signature string
	status                        int // of Grid's answer, 0 if it never got there
}

// Of so many signed legs one is lost in each way.
const oneOf = 150

func newWitness(t *testing.T, grid string) *witness {
	t.Helper()
	w, proxy := &witness{}, forward(t, grid)
	w.Server = httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if r.Header.Get(signer.HeaderSignature) == "" {
			proxy.ServeHTTP(out, r)
			return
		}
		leg := &arrival{r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:], r.Header.Get(signer.HeaderRequestID), r.Header.Get(signer.HeaderSignature), 0}
		w.mu.Lock()
		w.legs = append(w.legs, leg)
		n := len(w.legs) % oneOf
		w.mu.Unlock()
		if n == oneOf/4 {
			<-r.Context().Done() // never sent on: until the bridge gives up
			return
		}
		answer := httptest.NewRecorder()
		proxy.ServeHTTP(answer, r)
		w.mu.Lock()
		leg.status = answer.Code
		w.mu.Unlock()
		switch n {
		case oneOf / 2:
			panic(http.ErrAbortHandler) // the answer is lost
		case oneOf * 3 / 4:
			<-r.Context().Done() // the answer is too late
		default:
			for name, values := range answer.Header() {
				out.Header()[name] = values
			}
			out.WriteHeader(answer.Code)
			io.Copy(out, answer.Body)
		}
	}))
	t.Cleanup(w.Close)
	return w
}

// forward hands requests on to where grid is, path and all.
func forward(t *testing.T, grid string) http.Handler {
	t.Helper()
	target, err := url.Parse(grid)
	if err != nil {
		t.Fatal(err)
	}
	target.Path = ""
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
}

// revocations is how many TestScaleOut makes: 10,000 for a release.
func revocations(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("REVOCATIONS"))
	if err != nil && os.Getenv("REVOCATIONS") != "" {
		t.Fatal("REVOCATIONS is not a number")
	}
	return max(n, 300)
}

// pressure has sessions revoked while Redis is killed, hung and started again, a replica is
// killed and started again, and Grid's answers are late or lost. What is said of each must be
// true, nothing may be done twice, and what is done must be in the audit.
func (s *scale) pressure(t *testing.T) {
	n := revocations(t)
	const workers = 6
	var lost, ended sync.Map // ids whose answer was lost, and that were reported as ended
	next, done := make(chan int), make(chan struct{}, n)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := range next {
				user := api{t, s.base, s.token(fmt.Sprint("user-", i))} // each with a burst of their own
				id, status, err := user.signInAndRevoke(s.idp, s.sim.CredentialID)
				if err != nil {
					t.Errorf("revocation: %v", err)
				} else {
					ended.Store(id, status)
				}
				if err == nil && status != signer.Revoked {
					lost.Store(id, true) // told by Grid that the session is gone
				}
				done <- struct{}{}
			}
		})
	}
	go func() {
		for i := range n {
			next <- i
		}
		close(next)
	}()
	redis := func(sig syscall.Signal) func() { return func() { s.redis.running.Process.Signal(sig) } }
	events := []func(){
		s.bridges[0].kill, s.bridges[0].start, redis(syscall.SIGSTOP), redis(syscall.SIGCONT), s.redis.kill, s.bridges[1].kill, s.bridges[1].start, s.redis.start,
	}
	for i := range n {
		<-done
		if step := n / (len(events) + 1); (i+1)%step == 0 && (i+1)/step <= len(events) {
			events[(i+1)/step-1]()
		}
	}
	all.Wait()
	s.check(t, &ended)
	count := 0
	lost.Range(func(any, any) bool { count++; return true })
	t.Logf("%d revocations, the answers of %d of them lost on the way", n, count)
}

// check holds what was reported against what Grid has and what reached it, and the latter
// against the audits.
func (s *scale) check(t *testing.T, ended *sync.Map) {
	var left struct{ Data []struct{ ID string } }
	if got := (api{t, s.base, s.token("last")}).call("GET", "/auth/sessions?accountId="+s.sim.AccountID, nil, nil, &left); got != 200 {
		t.Fatalf("sessions = %d, want 200", got)
	}
	for _, session := range left.Data { // a sign-in whose answer was lost leaves a session that nobody asked to end
		if _, ok := ended.Load(session.ID); ok {
			t.Errorf("%s was reported as ended, and is active", session.ID)
		}
	}
	s.grid.mu.Lock()
	defer s.grid.mu.Unlock()
	executed, signatures := map[string]int{}, map[string]bool{}
	sent := s.audited(t)
	for _, leg := range s.grid.legs {
		if leg.status == http.StatusNoContent {
			executed[leg.session]++
		}
		if signatures[leg.signature] {
			t.Errorf("a signature for %s reached Grid twice", leg.session)
		}
		signatures[leg.signature] = true
		key := bridge.NewSecret(s.sim.ClientSecret)
		if !slices.Contains(sent[bridge.AuditHash(key, leg.requestID)], bridge.AuditHash(key, leg.session)) {
			t.Errorf("a signed leg for %s reached Grid, and is in no audit", leg.session)
		}
	}
	ended.Range(func(id, status any) bool {
		if executed[id.(string)] != 1 {
			t.Errorf("%s was reported as %s, and revoked %d times", id, status, executed[id.(string)])
		}
		return true
	})
}

// audited returns, of each request id's hash, the hashes of the sessions for which a leg with
// it was sent.
func (s *scale) audited(t *testing.T) map[string][]string {
	sent := map[string][]string{}
	for _, file := range s.audits {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var v struct{ Stage, IDHash, RequestHash string }
			if err := json.Unmarshal([]byte(line), &v); err != nil {
				t.Fatalf("%s: %v: %s", file, err, line)
			}
			if v.Stage == "sent" {
				sent[v.RequestHash] = append(sent[v.RequestHash], v.IDHash)
			}
		}
	}
	return sent
}
