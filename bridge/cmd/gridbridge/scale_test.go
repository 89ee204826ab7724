package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gridsigner/signer"
)

// TestMain lets the test's own binary stand in for gridbridge, so that a test
// can kill a process of it. It fails the package if a test leaves a goroutine
// behind.
func TestMain(m *testing.M) {
	if os.Getenv("GRIDBRIDGE_TEST_MAIN") != "" {
		main()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// tool finds a program that a test needs, also where Debian keeps it from the
// PATH of plain users. Without it the test is skipped, unless nobody would read
// that it was.
func tool(t *testing.T, name, install string) string {
	t.Helper()
	for _, name := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("needs %s: apt-get install %s", name, install)
	}
	t.Skipf("needs %s: apt-get install %s", name, install)
	return ""
}

// child is a process that a test kills and starts again.
type child struct {
	t       *testing.T
	command func() *exec.Cmd
	address string
	running *exec.Cmd
}

// start starts the process and waits until it accepts connections.
func (c *child) start() {
	c.t.Helper()
	c.running = c.command()
	if err := c.running.Start(); err != nil {
		c.t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		conn, err := net.Dial("tcp", c.address)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s does not listen on %s", c.running.Path, c.address)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// kill ends the process without a warning.
func (c *child) kill() {
	c.running.Process.Kill()
	c.running.Wait()
}

// newChild makes a child that is started, and killed at the end of the test.
func newChild(t *testing.T, address string, env []string, name string, args ...string) *child {
	t.Helper()
	var output bytes.Buffer
	c := &child{t: t, address: address, command: func() *exec.Cmd {
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), env...)
		if strings.HasPrefix(filepath.Base(name), "nginx") {
			cmd.Stderr = &output
		}
		return cmd
	}}
	c.start()
	t.Cleanup(func() {
		c.kill()
		if t.Failed() && output.Len() > 0 {
			t.Logf("%s: %s", name, &output)
		}
	})
	return c
}

// freeAddress finds an address for a process that will be started again on it.
// The port is not one that the system gives to clients, who could have it while
// the process is down.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 1000 {
		ln, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", 20000+rand.IntN(12000)))
		if err == nil {
			defer ln.Close()
			return ln.Addr().String()
		}
	}
	t.Fatal("no free port")
	return ""
}

// nginxConfig balances over two replicas. It must not resend: a request that it
// sent may have reached Grid.
const nginxConfig = `daemon off; master_process off; pid nginx.pid; error_log stderr warn;
events { worker_connections 512; }
http {
	access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
	upstream replicas { server %s max_fails=1 fail_timeout=1s; server %s max_fails=1 fail_timeout=1s; keepalive 16; }
	server {
		listen %s;
		location / {
			proxy_pass http://replicas; proxy_http_version 1.1; proxy_next_upstream off;
			proxy_set_header Connection ""; proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr;
		}
	}
}
`

// TestScaleOut runs two replicas behind nginx with a Redis, and load, while one
// replica is killed and started again, and then Redis.
func TestScaleOut(t *testing.T) {
	t.Parallel()
	redisServer, nginx := tool(t, "redis-server", "redis-server"), tool(t, "nginx", "nginx-light")
	sim := start(t, nil, "simulate", "--json").ready()
	idp, jwks := appLogin(t, sim.Seed)
	dir := t.TempDir()
	redisAddress, balancer, replicas := freeAddress(t), freeAddress(t), [2]string{freeAddress(t), freeAddress(t)}
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, replicas[0], replicas[1], balancer), 0o600); err != nil {
		t.Fatal(err)
	}
	_, redisPort, _ := net.SplitHostPort(redisAddress)
	redis := newChild(t, redisAddress, nil, redisServer, "--bind", "127.0.0.1", "--port", redisPort, "--save", "", "--appendonly", "no", "--dir", dir)
	var bridges [2]*child
	for i, address := range replicas {
		bridges[i] = newChild(t, address, []string{
			"GRIDBRIDGE_TEST_MAIN=1", "GRID_BASE_URL=" + sim.URL, "GRID_CLIENT_ID=" + sim.ClientID, "GRID_CLIENT_SECRET=" + sim.ClientSecret,
		}, os.Args[0], "serve", "--listen", address, "--redis-url", "redis://"+redisAddress, "--trusted-proxy", "127.0.0.1",
			"--jwks", jwks, "--issuer", "https://id.example", "--audience", demoAudience,
			"--limit-user", "50/1s,100", "--limit-address", "100000/1s,100000", "--limit-sign-in", "10000/1s,10000")
	}
	newChild(t, balancer, nil, nginx, "-e", "stderr", "-p", dir, "-c", config)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	base := "http://" + balancer + "/api/grid"
	token := func(user string) string {
		token, err := idp.token(map[string]any{"iss": idp.issuer, "aud": demoAudience, "sub": user, "exp": time.Now().Add(time.Hour).Unix(),
			"grid_accounts": []string{sim.AccountID}})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}

	t.Run("limits are shared", func(t *testing.T) {
		// Until a refusal, which says that the bucket is empty: then as many have
		// passed as were in it and came back since, however long it took.
		const seconds = 3
		hammer := api{t, base, token("hammer")}
		var passed atomic.Int32
		var all sync.WaitGroup
		begin := time.Now()
		for range 4 {
			all.Go(func() {
				for {
					switch got, err := hammer.send("GET", "/auth/sessions?accountId="+sim.AccountID, nil, nil); {
					case err == nil && got.Status == 200:
						passed.Add(1)
					case err == nil && got.Status == 429:
						if time.Since(begin) > seconds*time.Second {
							return
						}
						time.Sleep(5 * time.Millisecond)
					default:
						t.Errorf("answer = %d, %v", got.Status, err)
						return
					}
				}
			})
		}
		all.Wait()
		want := 100 + 50*time.Since(begin).Seconds()
		if got := float64(passed.Load()); got < want*.9 || got > want*1.1 {
			t.Errorf("%g requests passed, want %g, within 10%%", got, want)
		}
	})

	t.Run("no revocation is lost", func(t *testing.T) {
		const workers, each = 6, 50
		var done, lost atomic.Int32
		var ended sync.Map // ids that were reported as ended
		var all sync.WaitGroup
		for i := range workers {
			user := api{t, base, token(fmt.Sprint("user-", i))}
			all.Go(func() {
				for range each {
					key, err := signer.GenerateP256()
					if err != nil {
						t.Error(err)
						return
					}
					id := user.signIn(idp, sim.CredentialID, key)
					status, err := user.revoke(id, key)
					if err != nil {
						t.Errorf("revocation: %v", err)
					} else if status != signer.Revoked {
						lost.Add(1) // its answer was: told by the bridge that the session is gone
					}
					ended.Store(id, true)
					done.Add(1)
				}
			})
		}
		at := func(n int32, f func()) {
			for done.Load() < n {
				time.Sleep(time.Millisecond)
			}
			f()
		}
		at(workers*each*1/6, bridges[0].kill)
		at(workers*each*2/6, bridges[0].start)
		at(workers*each*3/6, redis.kill)
		at(workers*each*4/6, redis.start)
		all.Wait()
		var left struct{ Data []struct{ ID string } }
		if got := (api{t, base, token("last")}).call("GET", "/auth/sessions?accountId="+sim.AccountID, nil, nil, &left); got != 200 {
			t.Errorf("sessions = %d, want 200", got)
		}
		for _, session := range left.Data { // a sign-in whose answer was lost leaves a session that nobody asked to end
			if _, ok := ended.Load(session.ID); ok {
				t.Errorf("%s was reported as ended, and is active", session.ID)
			}
		}
		t.Logf("%d revocations, the answers of %d of them lost on the way", done.Load(), lost.Load())
	})
}

// signIn signs in until it succeeds: it is no part of what is measured.
func (a api) signIn(idp *identityProvider, credential string, key *signer.Key) string {
	for range 100 {
		login, err := idp.login(key.Public().String())
		if err != nil {
			a.t.Error(err)
			return ""
		}
		res, err := a.send("POST", "/auth/credentials/"+credential+"/verify", []byte(`{"type":"OAUTH","oidcToken":"`+login.OIDCToken+`","clientPublicKey":"`+key.Public().String()+`"}`), nil)
		if err == nil && res.Status == 200 {
			_, rest, _ := strings.Cut(string(res.Body), `"id":"`)
			id, _, _ := strings.Cut(rest, `"`)
			return id
		}
		time.Sleep(50 * time.Millisecond)
	}
	a.t.Error("no sign-in")
	return ""
}

// revoke drives the client's own flow.
func (a api) revoke(id string, key *signer.Key) (signer.Status, error) {
	retry, err := signer.NewRevocation(id, time.Now().Add(time.Minute), rand.Float64)
	if err != nil {
		return "", err
	}
	for {
		switch s := retry.Next().(type) {
		case signer.Send:
			headers := map[string]string{}
			if s.Signed() {
				headers[signer.HeaderSignature], headers[signer.HeaderRequestID] = s.Signature, s.RequestID
			}
			if res, err := a.send(s.Method, s.Path, nil, headers); err != nil {
				retry.Failed(time.Now(), err)
			} else {
				retry.Answered(time.Now(), res)
			}
		case signer.Sign:
			retry.Signed(signer.SignChallenge(context.Background(), key, s.Challenge, signer.SignOptions{Intent: s.Intent}, time.Now()))
		case signer.Wait:
			time.Sleep(s.For)
			retry.Waited()
		case signer.Done:
			return s.Status, s.Err
		}
	}
}

func (a api) send(method, path string, body []byte, headers map[string]string) (res signer.Response, err error) {
	req, err := http.NewRequest(method, a.base+path, bytes.NewReader(body))
	if err != nil {
		return res, err
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	req.Header.Set("X-Gridsigner", "1")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return res, err
	}
	defer resp.Body.Close()
	res = signer.Response{Status: resp.StatusCode, RetryAfter: resp.Header.Get("Retry-After")}
	if res.Body, err = io.ReadAll(resp.Body); err != nil {
		return res, errors.Join(errors.New("answer cut short"), err)
	}
	return res, nil
}
