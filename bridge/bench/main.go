// Command bench measures what the bridge costs: wrk, side by side in one run
// and on one upstream, against the bridge with every check on and a thousand
// users, a bare httputil.ReverseProxy that adds the header, nginx, and, where
// its packages are installed, Express with http-proxy-middleware. Then lists and
// both legs of revocations, beside what the bare one does with the same requests,
// for the bridge alone and with a Redis. Then how long a user waits for a
// revocation, of two legs and a signature. It fails if the bridge does not hold
// the limits of figures.go.
//
//	go run ./bridge/bench bin/gridbridge [seconds]
//	go run ./bridge/bench --version
//
// It needs wrk, nginx and Redis (apt-get install wrk nginx-light redis-server).
package main

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"gridsigner/bridge/telemetry"
)

const (
	users    = 1000
	rounds   = 3 // at most
	clientID = "bench"
	secret   = "bench-secret"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) == 3 && os.Args[1] == "bare" {
		log.Fatal(bare(os.Args[2]))
	}
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		version, revision, goVersion := telemetry.Build()
		fmt.Printf("bench %s, revision %s, %s\n", version, cmp.Or(revision, "unknown"), goVersion)
		return
	}
	if len(os.Args) < 2 {
		log.Fatal("usage: bench PATH-OF-GRIDBRIDGE [seconds]")
	}
	seconds := "10"
	if len(os.Args) > 2 {
		seconds = os.Args[2]
	}
	if err := run(os.Args[1], seconds); err != nil {
		log.Fatal("bench: ", err)
	}
}

// bare is the proxy that does nothing but add the header.
func bare(upstream string) error {
	target, err := url.Parse(upstream)
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header.Set("Authorization", basic())
		},
	}
	return http.ListenAndServe(os.Getenv("LISTEN"), http.StripPrefix("/api/grid", proxy))
}

func basic() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(clientID+":"+secret))
}

// nginxConfig is the upstream, which answers out of its configuration, and the
// proxy under test. It is a Grid in which each account has one session, with its number,
// that can be revoked again and again. It checks nothing: it must not be what is measured.
const nginxConfig = `daemon off; master_process off; pid nginx.pid; error_log stderr crit; worker_rlimit_nofile 8192;
events { worker_connections 4096; }
http {
	access_log off; keepalive_requests 1000000; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
	upstream grid { server %[1]s; keepalive 64; keepalive_requests 1000000; }
	map $request_id $request_uuid { "~^(.{8})(.{4})(.{4})(.{4})(.{12})$" $1-$2-$3-$4-$5; }
	map $arg_accountId $account_uuid { "~^InternalAccount:(.*)$" $1; }
	server { listen %[1]s; default_type application/json; location / {
		if ($request_method = GET) { return 200 '{"data":[{"id":"Session:$account_uuid","accountId":"InternalAccount:$account_uuid","type":"OAUTH","nickname":"a@b.c","createdAt":"2026-09-01T00:00:00Z","updatedAt":"2026-09-01T00:00:00Z","expiresAt":"2099-01-01T00:00:00Z"}]}'; }
		if ($http_request_id) { return 204; }
		return 202 '{"type":"OAUTH","payloadToSign":"%[4]s","requestId":"Request:$request_uuid","expiresAt":"2099-01-01T00:00:00Z"}'; } }
	server { listen %[2]s; location /api/grid/ {
		proxy_pass http://grid/; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Authorization "%[3]s"; } }
}
`

// script makes wrk take its requests in turn from a file, ready to send.
const script = `
local requests = {}
function init()
	local file = io.open(os.getenv("BENCH_REQUESTS"), "r")
	local all = file:read("*a")
	for line in all:gmatch("([^\n]+)\n") do requests[#requests + 1] = line:gsub("|", "\r\n") end
end
local next = 0
function request()
	next = next % #requests + 1
	return requests[next]
end
`

func run(gridbridge, seconds string) error {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var addresses [10]string
	for i := range addresses {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		addresses[i] = ln.Addr().String()
		ln.Close()
	}
	upstream := "http://" + addresses[0]
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	requests, jwks, err := wrkRequests(key)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"requests": requests, "jwks.json": jwks, "wrk.lua": []byte(script),
		"nginx.conf": fmt.Appendf(nil, nginxConfig, addresses[0], addresses[1], basic(), strings.ReplaceAll(payload, `"`, `\\"`)),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	os.Setenv("BENCH_REQUESTS", filepath.Join(dir, "requests"))
	program, err := os.Executable()
	if err != nil {
		return err
	}
	serve := func(address, upstream string) (env, args []string) {
		return []string{"GRID_BASE_URL=" + upstream, "GRID_CLIENT_ID=" + clientID, "GRID_CLIENT_SECRET=" + secret}, []string{
			gridbridge, "serve", "--listen", address, "--jwks", filepath.Join(dir, "jwks.json"), "--issuer", "bench", "--audience", "bench",
			"--limit-user", "1000000/1s,1000000", "--limit-address", "1000000/1s,1000000", "--limit-grid", "1000000/1s,1000000", "--limit-challenges", "1000000/1s,1000000"}
	}
	hung, err := net.Listen("tcp", addresses[6]) // the system accepts, and nobody answers
	if err != nil {
		return err
	}
	defer hung.Close()
	env, args := serve(addresses[3], upstream)
	_, argsHung := serve(addresses[7], upstream)
	_, argsRedis := serve(addresses[8], upstream)
	bareGo := candidate{"bare Go", addresses[2], []string{"LISTEN=" + addresses[2]}, []string{program, "bare", upstream}}
	alone := candidate{"gridbridge", addresses[3], env, args}
	shared := candidate{withRedis, addresses[8], env, append(argsRedis, "--redis-url", "redis://"+addresses[9])}
	_, redisPort, _ := net.SplitHostPort(addresses[9])

	// Grid is what nginx is, too.
	others, err := startAll(dir,
		candidate{"nginx", addresses[1], nil, []string{"nginx", "-e", "stderr", "-p", dir, "-c", "nginx.conf"}},
		candidate{"Redis", addresses[9], nil, []string{"redis-server", "--bind", "127.0.0.1", "--port", redisPort, "--dir", dir, "--save", "", "--appendonly", "no", "--loglevel", "warning"}},
	)
	defer killAll(others)
	if err != nil {
		return err
	}
	first, _, _ := bytes.Cut(requests, []byte("\n"))
	first = bytes.ReplaceAll(first, []byte("|"), []byte("\r\n"))
	compared := []candidate{bareGo, alone, {redisHung, addresses[7], env, append(argsHung, "--redis-url", "redis://"+addresses[6])}}
	if _, err := os.Stat("web/bench/node_modules"); err == nil {
		compared = append(compared, candidate{"Express", addresses[4], []string{"LISTEN=" + addresses[4], "UPSTREAM=" + upstream, "AUTHORIZATION=" + basic()}, []string{"node", "web/bench/express.mjs"}})
	} else {
		fmt.Println("Express is left out: npm ci --prefix web/bench")
	}
	missedWrk, err := again(func() (error, error) {
		processes, err := startAll(dir, compared...)
		defer killAll(processes)
		if err != nil {
			return nil, err
		}
		fmt.Printf("%-12s %10s %10s %10s %12s %12s %18s\n", "", "req/s", "p50", "p99", "at the start", "resident", "with 1000 clients")
		measured := map[string]figures{}
		for _, p := range append(others[:1:1], processes...) {
			f, err := p.measure(dir, seconds, first)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p.name, err)
			}
			fmt.Printf("%-12s %s\n", p.name, f)
			measured[p.name] = f
		}
		return judge(measured), nil
	})
	if err != nil {
		return err
	}
	duration, err := time.ParseDuration(seconds + "s")
	if err != nil {
		return err
	}
	missedRatios, err := again(func() (error, error) {
		processes, err := startAll(dir, bareGo, alone, shared)
		defer killAll(processes)
		if err != nil {
			return nil, err
		}
		measured, err := measureRatios(key, processes[0], processes[1:], duration)
		if err != nil {
			return nil, err
		}
		fmt.Printf("\n%s", measured)
		return measured.judge(), nil
	})
	if err != nil {
		return err
	}
	grid := httptest.NewServer(revocable())
	defer grid.Close()
	env, args = serve(addresses[5], grid.URL)
	p, err := start(dir, candidate{"revocations", addresses[5], env, args})
	if err != nil {
		return err
	}
	defer p.Kill()
	return errors.Join(revocations(key, "http://"+addresses[5], duration), missedWrk, missedRatios)
}

// again measures until no limit is missed, but not forever: one that is missed may be the
// fault of what else the machine was doing. Then all are measured once more, side by side
// as before.
func again(measure func() (missed, err error)) (missed, err error) {
	for round := 1; ; round++ {
		if missed, err = measure(); missed == nil || err != nil || round == rounds {
			return missed, err
		}
		fmt.Printf("measured again, for:\n%s\n\n", missed)
	}
}

// candidate is what is measured, or needed for that.
type candidate struct {
	name, address string
	env, args     []string
}

// startAll starts all, and returns those that it has started also if one does not.
func startAll(dir string, all ...candidate) (processes []process, err error) {
	for _, c := range all {
		p, err := start(dir, c)
		if err != nil {
			return processes, err
		}
		processes = append(processes, p)
	}
	return processes, nil
}

func killAll(processes []process) {
	for _, p := range processes {
		p.Kill()
		p.Wait()
	}
}

// process is a candidate that runs.
type process struct {
	*os.Process
	name, address string
	fresh         int // kB resident when it listens
}

// start starts a candidate, whose log is in dir, and waits until it listens.
func start(dir string, c candidate) (p process, err error) {
	cmd := exec.Command(c.args[0], c.args[1:]...)
	cmd.Env = append(os.Environ(), c.env...)
	log, err := os.CreateTemp(dir, "log") // lines cost what they cost where they are kept
	if err != nil {
		return p, err
	}
	defer log.Close()
	cmd.Stderr = log
	if err = cmd.Start(); err != nil {
		return p, fmt.Errorf("%s: %w", c.name, err)
	}
	if err = wait(c.address); err == nil {
		p = process{cmd.Process, c.name, c.address, 0}
		p.fresh, err = resident(p.Pid)
	}
	if err != nil {
		cmd.Process.Kill()
		return p, fmt.Errorf("%s: %w", c.name, err)
	}
	return p, nil
}

// measure warms a candidate up and then takes its figures. The request is one
// of the traffic.
func (p process) measure(dir, seconds string, request []byte) (f figures, err error) {
	for _, duration := range []string{"1", seconds} {
		out, err := exec.Command("wrk", "-t1", "-c64", "-d"+duration+"s", "--latency", "-s", filepath.Join(dir, "wrk.lua"), "http://"+p.address).CombinedOutput()
		if err != nil {
			return f, fmt.Errorf("wrk: %w: %s", err, out)
		}
		if f, err = parseFigures(out); err != nil {
			return f, err
		}
	}
	f.fresh = p.fresh
	if f.resident, err = resident(p.Pid); err != nil {
		return f, err
	}
	f.idle, err = p.residentWithClients(request)
	return f, err
}

func wait(address string) error {
	for range 500 {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			return conn.Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("nobody listens on %s", address)
}

// residentWithClients is what the process takes with a thousand connections open, which
// have all asked at once and now wait.
func (p process) residentWithClients(request []byte) (int, error) {
	var conns []net.Conn
	for range 1000 {
		conn, err := net.Dial("tcp", p.address)
		if err != nil {
			return 0, err
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	for _, conn := range conns {
		if _, err := conn.Write(request); err != nil {
			return 0, err
		}
	}
	for _, conn := range conns {
		if _, err := conn.Read(make([]byte, 4096)); err != nil {
			return 0, err
		}
	}
	time.Sleep(time.Second) // in which whoever gives memory back does
	return resident(p.Pid)
}

// wrkRequests makes a request of each user, one a line with "|" for a line end, and
// the key set that their tokens are checked with.
func wrkRequests(key *ecdsa.PrivateKey) (requests, jwks []byte, err error) {
	b64 := base64.RawURLEncoding
	point, err := key.PublicKey.Bytes() // 0x04 || x || y
	if err != nil {
		return nil, nil, err
	}
	jwks = fmt.Appendf(nil, `{"keys":[{"kty":"EC","crv":"P-256","kid":"k","x":%q,"y":%q}]}`, b64.EncodeToString(point[1:33]), b64.EncodeToString(point[33:]))
	for i := range users {
		token, err := token(key, i)
		if err != nil {
			return nil, nil, err
		}
		requests = fmt.Appendf(requests, "GET /api/grid/auth/sessions?accountId=%s HTTP/1.1|Host: bench.example|Authorization: Bearer %s||\n", account(i), token)
	}
	return requests, jwks, nil
}

// account is the account of user i.
func account(i int) string { return fmt.Sprintf("InternalAccount:00000000-0000-0000-0000-%012d", i) }

// token is what user i shows the bridge.
func token(key *ecdsa.PrivateKey, i int) (string, error) {
	b64 := base64.RawURLEncoding
	claims, err := json.Marshal(map[string]any{"iss": "bench", "aud": "bench", "sub": fmt.Sprint("user-", i),
		"exp": time.Now().Add(time.Hour).Unix(), "grid_accounts": []string{account(i)}})
	if err != nil {
		return "", err
	}
	signed := b64.EncodeToString([]byte(`{"alg":"ES256","kid":"k"}`)) + "." + b64.EncodeToString(claims)
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		return "", err
	}
	var signature [64]byte
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signed + "." + b64.EncodeToString(signature[:]), nil
}
