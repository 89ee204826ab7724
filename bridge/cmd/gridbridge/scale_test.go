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
	"net/url"
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
	if os.Getenv("RUN_AS_GRIDBRIDGE") != "" {
		main()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// program is the path of that binary.
func program(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
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

// freeAddresses finds n addresses for processes that will be started again on
// them. The ports are none that the system gives to clients, who could have them
// while a process is down.
func freeAddresses(t *testing.T, n int) (addresses []string) {
	t.Helper()
	for range 1000 {
		ln, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", 20000+rand.IntN(12000)))
		if err != nil {
			continue
		}
		defer ln.Close() // all at the end: no two are the same
		if addresses = append(addresses, ln.Addr().String()); len(addresses) == n {
			return addresses
		}
	}
	t.Fatal("no free ports")
	return nil
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

// scale is two replicas behind nginx, with a Redis and with a witness before Grid.
type scale struct {
	sim     ready
	idp     *identityProvider
	grid    *witness
	redis   *child
	bridges [2]*child
	admins  []string
	audits  []string
	base    string
	token   func(user string) string
}

const burst = 200 // of a user, and next to nothing after it: time does not count

func newScale(t *testing.T) *scale {
	redisServer, nginx := tool(t, "redis-server", "redis-server"), tool(t, "nginx", "nginx-light")
	sim := start(t, nil, "simulate", "--json").ready()
	idp, jwks := appLogin(t, sim.Seed)
	dir := t.TempDir()
	free := freeAddresses(t, 6)
	redisAddress, balancer, replicas := free[0], free[1], free[2:4]
	s := &scale{sim: sim, idp: idp, grid: newWitness(t, sim.URL), admins: free[4:], base: "http://" + balancer + "/api/grid"}
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, replicas[0], replicas[1], balancer), 0o600); err != nil {
		t.Fatal(err)
	}
	grid, err := url.Parse(sim.URL)
	if err != nil {
		t.Fatal(err)
	}
	_, redisPort, _ := net.SplitHostPort(redisAddress)
	s.redis = newChild(t, redisAddress, nil, redisServer, "--bind", "127.0.0.1", "--port", redisPort, "--save", "", "--appendonly", "no", "--dir", dir)
	for i, address := range replicas {
		s.audits = append(s.audits, filepath.Join(dir, fmt.Sprint("audit-", i)))
		args := []string{"serve", "--listen", address, "--admin-listen", s.admins[i], "--redis-url", "redis://" + redisAddress, "--trusted-proxy", "127.0.0.1",
			"--jwks", jwks, "--issuer", "https://id.example", "--audience", demoAudience, "--audit-log", s.audits[i], "--limit-user", fmt.Sprintf("1/1m,%d", burst)}
		for _, name := range []string{"address", "network", "sign-in", "sign-ins", "attempts", "challenges", "grid"} {
			args = append(args, "--limit-"+name, "100000/1s,100000")
		}
		s.bridges[i] = newChild(t, address, []string{
			"RUN_AS_GRIDBRIDGE=1", "GRID_BASE_URL=" + s.grid.URL + grid.Path, "GRID_CLIENT_ID=" + sim.ClientID, "GRID_CLIENT_SECRET=" + sim.ClientSecret,
		}, os.Args[0], args...)
	}
	newChild(t, balancer, nil, nginx, "-e", "stderr", "-p", dir, "-c", config)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	s.token = func(user string) string {
		token, err := idp.token(map[string]any{"iss": idp.issuer, "aud": demoAudience, "sub": user, "exp": time.Now().Add(time.Hour).Unix(),
			"grid_accounts": []string{sim.AccountID}})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	return s
}

// TestScaleOut runs two replicas behind nginx with a Redis: first to see that they share
// their limits, then under pressure.
func TestScaleOut(t *testing.T) {
	t.Parallel()
	s := newScale(t)
	// redisFailures is how often a replica had to do without its Redis.
	redisFailures := func() (counts string) {
		for _, admin := range s.admins {
			_, metrics := fetch(t, "GET", "http://"+admin+"/metrics", "", nil)
			for line := range strings.Lines(metrics) {
				if strings.HasPrefix(line, "gridbridge_shared_failures_total{") {
					counts += line
				}
			}
		}
		return counts
	}

	t.Run("limits are shared", func(t *testing.T) {
		// Twice the burst, which two replicas that do not share would let pass. A
		// machine so busy that Redis misses its time limit measures that instead.
		for i := range 10 {
			before := redisFailures()
			hammer := api{t, s.base, s.token(fmt.Sprint("hammer-", i))}
			var passed, limited atomic.Int32
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() {
					for range 2 * burst / 4 {
						switch got, err := hammer.send("GET", "/auth/sessions?accountId="+s.sim.AccountID, nil, nil); {
						case err == nil && got.Status == 200:
							passed.Add(1)
						case err == nil && got.Status == 429:
							limited.Add(1)
						default:
							t.Errorf("answer = %d, %v", got.Status, err)
						}
					}
				})
			}
			all.Wait()
			if after := redisFailures(); after != before {
				t.Logf("Redis failed meanwhile: %s, before %s", after, before)
				continue
			}
			if got := passed.Load(); got < burst*9/10 || got > burst*11/10 {
				t.Errorf("%d requests passed and %d were refused, want %d to pass, within 10%%", got, limited.Load(), burst)
			}
			return
		}
		t.Error("Redis failed each time")
	})

	t.Run("under pressure", s.pressure)
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

// signInAndRevoke makes a session and ends it. Where the client's own flow gives
// up and says that trying again may help, it tries again: a replica that is gone
// can spoil all of its attempts, but must not make it say what is not so.
func (a api) signInAndRevoke(idp *identityProvider, credential string) (id string, status signer.Status, err error) {
	key, err := signer.GenerateP256()
	if err != nil {
		return "", "", err
	}
	id = a.signIn(idp, credential, key)
	for range 10 {
		status, err = a.revoke(id, key)
		if e, ok := errors.AsType[*signer.Error](err); !ok || !e.Kind.Retryable() {
			break
		}
	}
	return id, status, err
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
