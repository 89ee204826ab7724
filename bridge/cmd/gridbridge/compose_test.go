package main

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v2"

	"gridsigner/bridge"
)

// composeFile is what a test understands of compose.yaml. Anything else in it is an error.
type composeFile struct {
	Name     string                    `yaml:"name"`
	Services map[string]composeService `yaml:"services"`
	Networks map[string]*struct {
		Internal bool `yaml:"internal"`
		IPAM     struct {
			Config []struct {
				Subnet string `yaml:"subnet"`
			} `yaml:"config"`
		} `yaml:"ipam"`
	} `yaml:"networks"`
	Configs map[string]composeSource `yaml:"configs"`
	Secrets map[string]composeSource `yaml:"secrets"`
	Shared  map[string]any           `yaml:",inline"` // x-: what services have in common
}

type composeSource struct {
	File string `yaml:"file"`
}

// ownImage is the one that compose.yaml has built.
const ownImage = "gridbridge"

type composeService struct {
	Image string `yaml:"image"`
	Build struct {
		Context    string `yaml:"context"`
		Dockerfile string `yaml:"dockerfile"`
	} `yaml:"build"`
	PullPolicy  string            `yaml:"pull_policy"`
	Entrypoint  []string          `yaml:"entrypoint"`
	Command     []string          `yaml:"command"`
	Environment map[string]string `yaml:"environment"`
	EnvFile     []string          `yaml:"env_file"`
	Secrets     []string          `yaml:"secrets"`
	Configs     []struct {
		Source string `yaml:"source"`
		Target string `yaml:"target"`
	} `yaml:"configs"`
	Networks map[string]*struct {
		IPv4Address string `yaml:"ipv4_address"`
	} `yaml:"networks"`
	Ports           []string          `yaml:"ports"`
	Tmpfs           []string          `yaml:"tmpfs"`
	User            string            `yaml:"user"`
	ReadOnly        bool              `yaml:"read_only"`
	CapDrop         []string          `yaml:"cap_drop"`
	SecurityOpt     []string          `yaml:"security_opt"`
	Restart         string            `yaml:"restart"`
	StopSignal      string            `yaml:"stop_signal"`
	StopGracePeriod string            `yaml:"stop_grace_period"`
	Ulimits         map[string]int    `yaml:"ulimits"`
	Sysctls         map[string]string `yaml:"sysctls"`
	Healthcheck     *struct {
		Test     []string `yaml:"test"`
		Interval string   `yaml:"interval"`
		Timeout  string   `yaml:"timeout"`
	} `yaml:"healthcheck"`
}

func readCompose(t *testing.T) (file composeFile) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(readFile(t, deployDir+"/compose.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	for name := range file.Shared {
		if !strings.HasPrefix(name, "x-") {
			t.Fatalf("it is not known what %s is", name)
		}
	}
	return file
}

// TestComposeFile wants of every container what makes it hard to leave, of the networks
// that users reach nginx and nothing else, and of the replicas what the program takes.
func TestComposeFile(t *testing.T) {
	file := readCompose(t)
	image, err := os.Stat(filepath.Join(deployDir, file.Services["gridbridge-1"].Build.Context, file.Services["gridbridge-1"].Build.Dockerfile))
	if err != nil || !image.Mode().IsRegular() {
		t.Errorf("the Dockerfile: %v", err)
	}
	for name, c := range file.Services {
		if user, err := strconv.Atoi(strings.SplitN(c.User, ":", 2)[0]); err != nil || user == 0 || !c.ReadOnly || !slices.Equal(c.CapDrop, []string{"ALL"}) || !slices.Equal(c.SecurityOpt, []string{"no-new-privileges:true"}) {
			t.Errorf("%s: user %q, read_only %t, cap_drop %q, security_opt %q", name, c.User, c.ReadOnly, c.CapDrop, c.SecurityOpt)
		}
		if c.Image != ownImage && !regexp.MustCompile(`^[a-z]+:[0-9]`).MatchString(c.Image) {
			t.Errorf("%s: image %q, want a version", name, c.Image)
		}
		if built := c.Build.Context != ""; c.Image == ownImage && built == (c.PullPolicy == "never") {
			t.Errorf("%s is built: %t, pull_policy %q", name, built, c.PullPolicy)
		}
		if c.Restart != "unless-stopped" {
			t.Errorf("%s: restart %q", name, c.Restart)
		}
		if (len(c.Ports) > 0) != (name == "nginx") {
			t.Errorf("%s: ports %q are published", name, c.Ports)
		}
		for network := range c.Networks {
			if _, ok := file.Networks[network]; !ok {
				t.Errorf("%s: no network %q", name, network)
			}
		}
		for _, secret := range c.Secrets {
			if _, ok := file.Secrets[secret]; !ok {
				t.Errorf("%s: no secret %q", name, secret)
			}
		}
	}
	for network, of := range map[string][]string{"users": {"nginx"}, "front": {"gridbridge-1", "gridbridge-2", "nginx"}, "redis": {"gridbridge-1", "gridbridge-2", "redis"}, "app": {"gridbridge-1", "gridbridge-2"}, "grid": {"gridbridge-1", "gridbridge-2"}} {
		var members []string
		for name, c := range file.Services {
			if _, ok := c.Networks[network]; ok {
				members = append(members, name)
			}
		}
		slices.Sort(members)
		internal := file.Networks[network] != nil && file.Networks[network].Internal
		if !slices.Equal(members, of) || internal != (network != "users" && network != "grid") {
			t.Errorf("network %s: %q, internal: %t; want %q", network, members, internal, of)
		}
	}
	secrets := t.TempDir()
	for _, name := range []string{"gridbridge-1", "gridbridge-2"} {
		c := file.Services[name]
		env := map[string]string{"GRIDBRIDGE_REDIS_URL": "redis://gridbridge:password@redis:6379/0"}
		for variable, value := range c.Environment {
			if !slices.Contains(c.Secrets, strings.TrimPrefix(value, "/run/secrets/")) {
				t.Errorf("%s: %s = %s is no secret of it", name, variable, value)
			}
			env[variable] = filepath.Join(secrets, filepath.Base(value))
			writeFile(t, env[variable], strings.Repeat(filepath.Base(value), 5)+"\n", 0o600)
		}
		s := configured(t, c.Command, env)
		if grace, err := time.ParseDuration(c.StopGracePeriod); err != nil || grace < longestStop(s) {
			t.Errorf("%s: stop_grace_period = %s, %v; want %s", name, c.StopGracePeriod, err, longestStop(s))
		}
		if want := file.Services["nginx"].Networks["front"].IPv4Address + "/32"; s.proxies.String() != want {
			t.Errorf("%s: trusted is %s, want %s, which is nginx alone", name, &s.proxies, want)
		}
	}

	// What only a test of minutes, or of a broken connection, would see of nginx: whom it
	// waits for, that it sends nothing twice, and that it keeps no connection longer than a
	// replica does, which would close it under a request.
	nginx := readFile(t, deployDir+"/nginx.conf")
	for _, want := range []string{"\tclient_header_timeout 15s;", "\tproxy_next_upstream off;"} {
		if !strings.Contains(nginx, want) {
			t.Errorf("nginx.conf lacks %s", want)
		}
	}
	kept := regexp.MustCompile(`\n\t\tkeepalive_timeout (\d+s);`).FindStringSubmatch(nginx)
	if kept == nil {
		t.Fatal("nginx.conf does not say how long a connection to a replica is kept")
	}
	if d, err := time.ParseDuration(kept[1]); err != nil || d >= bridge.NewServer(nil).IdleTimeout {
		t.Errorf("nginx keeps a connection for %s, %v; want less than %s", d, err, bridge.NewServer(nil).IdleTimeout)
	}
}

// TestCompose runs what compose.yaml describes, by it and by nginx.conf as they are, with
// the simulator as Grid. Users meet it over TLS. Beside addresses and paths one thing of
// nginx's is added: its connections come from its own address.
func TestCompose(t *testing.T) {
	t.Parallel()
	sim := start(t, nil, "simulate", "--json").ready()
	idp, jwks := appLogin(t, sim.Seed)
	app := whoami(t, jwks)
	nginxAddress := loopback(readCompose(t).Services["nginx"].Networks["front"].IPv4Address)
	certificate, key := newPair(t, nginxAddress)
	top := newTopology(t, map[string]string{"app:3000": app.Listener.Addr().String()}, map[string]string{
		"grid-id": sim.ClientID, "grid-secret": sim.ClientSecret + "\n", "gridbridge-key": strings.Repeat("key-", 8) + "\n",
		"redis.acl": "user default off\nuser gridbridge on >password ~gridbridge:* +evalsha +eval +mget +set +time +del\n",
		"tls.crt":   readFile(t, certificate), "tls.key": readFile(t, key),
	}, "RUN_AS_GRIDBRIDGE=1", "GORACE="+os.Getenv("GORACE"), "GRID_BASE_URL="+sim.URL)
	nginxConf := top.path("nginx", "/etc/nginx/nginx.conf")
	own := "http {\n\tproxy_bind " + nginxAddress + ";\n"
	if os.Geteuid() == 0 { // its workers would else be somebody who may not read this directory
		own = "user root;\n" + own
	}
	writeFile(t, nginxConf, strings.Replace(readFile(t, nginxConf), "http {\n", own, 1), 0o600)
	replicas := []string{"gridbridge-1", "gridbridge-2"}
	for _, name := range replicas {
		writeFile(t, top.path(name, "secrets/gridbridge.env"), "GRIDBRIDGE_REDIS_URL=redis://gridbridge:password@redis:6379/0\n", 0o400)
	}
	_, redisPort, _ := net.SplitHostPort(top.addresses["redis:6379"])
	top.start("redis", "6379", "--bind", "127.0.0.1", "--port", redisPort, "--dir", top.path("redis", "/data")) // its defaults are the image's
	for _, name := range replicas {
		top.start(name, "8080")
	}
	top.start("nginx", "443", "-p", top.path("nginx", "/tmp"), "-c", nginxConf)

	if out, err := exec.Command(tool(t, "redis-cli", "redis-tools"), append([]string{"-p", redisPort}, top.file.Services["redis"].Healthcheck.Test[2:]...)...).CombinedOutput(); err != nil {
		t.Errorf("health of redis: %v, %s", err, out)
	}
	login, err := idp.login(newKey(t, "P-256").public)
	if err != nil {
		t.Fatal(err)
	}
	admins := []string{top.addresses["gridbridge-1:9090"], top.addresses["gridbridge-2:9090"]}
	public := "https://" + top.addresses["nginx:443"]
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(readFile(t, certificate)))
	// get asks through nginx, on a connection of its own.
	get := func(path string) (int, error) {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}
		defer transport.CloseIdleConnections()
		req, err := http.NewRequest("GET", public+path, nil)
		if err != nil {
			return 0, err
		}
		req.Header.Set("Authorization", "Bearer "+login.AccessToken)
		req.Header.Set("Origin", public) // which is the bridge's own, if nginx keeps Host
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode, err
	}
	list := "/api/grid/auth/sessions?accountId=" + sim.AccountID

	t.Run("users reach the bridge over TLS, and nothing else", func(t *testing.T) {
		for path, want := range map[string]int{list: 200, "/metrics": 404, "/readyz": 404, "/api/grid/metrics": 404} {
			if got, err := get(path); got != want || err != nil {
				t.Errorf("%s = %d, %v; want %d", path, got, err, want)
			}
		}
		resp, _ := fetch(t, "GET", "http://"+top.addresses["nginx:80"]+"/page?a=b", "", nil)
		if want := "https://" + nginxAddress + "/page?a=b"; resp.StatusCode != 308 || resp.Header.Get("Location") != want {
			t.Errorf("over http = %d %s, want 308 %s", resp.StatusCode, resp.Header.Get("Location"), want)
		}
	})

	t.Run("a challenge of one replica is signed at the other", func(t *testing.T) {
		key := newKey(t, "P-256")
		login, err := idp.login(key.public)
		if err != nil {
			t.Fatal(err)
		}
		first := api{t, "http://" + top.addresses["gridbridge-1:8080"] + bridge.DefaultPrefix, login.AccessToken}
		second := api{t, "http://" + top.addresses["gridbridge-2:8080"] + bridge.DefaultPrefix, login.AccessToken}
		var session struct{ ID string }
		if got := first.call("POST", "/auth/credentials/"+sim.CredentialID+"/verify", map[string]string{"type": "OAUTH", "oidcToken": login.OIDCToken, "clientPublicKey": key.public}, nil, &session); got != 200 {
			t.Fatalf("sign-in = %d", got)
		}
		var challenge struct{ PayloadToSign, RequestID string }
		if got := first.call("DELETE", "/auth/sessions/"+session.ID, nil, nil, &challenge); got != 202 {
			t.Fatalf("challenge = %d, want 202", got)
		}
		signed := map[string]string{"Grid-Wallet-Signature": key.header("modern", challenge.PayloadToSign), "Request-Id": challenge.RequestID}
		if got := second.call("DELETE", "/auth/sessions/"+session.ID, nil, signed, nil); got != 204 {
			t.Errorf("signed leg = %d, want 204", got)
		}
		http.DefaultClient.CloseIdleConnections()
		if _, text := fetch(t, "GET", "http://"+admins[1]+"/metrics", "", nil); !strings.Contains(text, `gridbridge_signed_total{checked="verified"} 1`) {
			t.Errorf("the other replica has not verified it:\n%s", text)
		}
	})

	t.Run("operators see that all is well", func(t *testing.T) {
		for _, admin := range admins {
			if resp, body := fetch(t, "GET", "http://"+admin+"/readyz", "", nil); resp.StatusCode != 200 {
				t.Errorf("readyz = %d %s", resp.StatusCode, body)
			}
			if up := metric(t, admin, "gridbridge_shared_up"); up != 1 {
				t.Errorf("gridbridge_shared_up = %v, want 1", up)
			}
			if _, text := fetch(t, "GET", "http://"+admin+"/metrics", "", nil); strings.Contains(text, `reason="forbidden"`) || strings.Contains(text, `reason="password"`) {
				t.Errorf("Redis refuses what a bridge needs:\n%s", text)
			}
		}
	})

	t.Run("a replica is stopped, and no user notices", func(t *testing.T) {
		// reload is what bridge/README.md says of nginx, and waits until it holds.
		reload := func(from, to string, receives bool) {
			t.Helper()
			text := readFile(t, nginxConf)
			if !strings.Contains(text, from) {
				t.Fatalf("nginx.conf has no %q", from)
			}
			writeFile(t, nginxConf, strings.Replace(text, from, to, 1), 0o600)
			if err := top.children["nginx"].running.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(time.Minute); ; {
				before, was := metric(t, admins[0], "gridbridge_requests_total"), metric(t, admins[1], "gridbridge_requests_total")
				for metric(t, admins[1], "gridbridge_requests_total") < was+10 {
				}
				if got := metric(t, admins[0], "gridbridge_requests_total") > before; got == receives {
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("after a minute the first replica receives requests: %t", !receives)
				}
			}
		}
		var all sync.WaitGroup
		var answered atomic.Int64
		stop := make(chan struct{})
		for range 2 {
			all.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					status, err := get(list)
					if err != nil || status != 200 && status != 429 { // a limit is the bridge's own answer
						t.Errorf("answer = %d, %v", status, err)
						return
					}
					if status == 200 {
						answered.Add(1)
					}
				}
			})
		}
		defer all.Wait()
		defer close(stop)
		server := "server " + top.addresses["gridbridge-1:8080"]
		reload(server, server+" down", false)
		if err := top.stop("gridbridge-1"); err != nil {
			t.Errorf("it ended with %v", err)
		}
		top.start("gridbridge-1", "8080")
		reload(server+" down", server, true)
		if n := answered.Load(); n < 20 {
			t.Errorf("%d requests were answered meanwhile", n)
		}
	})

	t.Run("gridbridge check", func(t *testing.T) {
		passes(t, public+bridge.DefaultPrefix, sim.AccountID, login.AccessToken, certificate)
		for _, admin := range admins {
			if n := metric(t, admin, "gridbridge_requests_total"); n < 100 {
				t.Errorf("a replica had %v requests, want half of them", n)
			}
		}
	})
}
