package main

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gridsigner/bridge/identity"
)

// topology is what compose.yaml describes, as processes. Each container's file system is a
// directory, and each container's port a free one, on an address of this machine's that
// stands for the container's own: 127.31.84.10 for 172.31.84.10.
type topology struct {
	t         *testing.T
	file      composeFile
	dir       string
	addresses map[string]string // by service or other host, colon and port in the container
	children  map[string]*child
	outputs   map[string]*lockedBuffer
	env       []string // of the replicas, beside what is in the file
}

// loopback is the address that stands for a container's.
func loopback(address string) string { return "127" + strings.TrimPrefix(address, "172") }

func newTopology(t *testing.T, elsewhere map[string]string, secrets map[string]string, env ...string) *topology {
	t.Helper()
	top := &topology{t: t, file: readCompose(t), dir: t.TempDir(), addresses: elsewhere, children: map[string]*child{}, outputs: map[string]*lockedBuffer{}, env: env}
	inside := map[string][]string{"nginx": {"80", "443"}, "gridbridge-1": {"8080", "9090"}, "gridbridge-2": {"8080", "9090"}, "redis": {"6379"}}
	free := freeAddresses(t, 7)
	for service, ports := range inside {
		for _, port := range ports {
			host, actual, _ := net.SplitHostPort(free[0])
			free = free[1:]
			if front := top.file.Services[service].Networks["front"]; front != nil {
				host = loopback(front.IPv4Address)
				top.addresses[front.IPv4Address+":"+port] = net.JoinHostPort(host, actual)
			}
			top.addresses[service+":"+port] = net.JoinHostPort(host, actual)
		}
	}
	for name, source := range top.file.Secrets {
		if secrets[name] == "" {
			t.Fatalf("compose.yaml has a secret %s, of which this test does not know what is in it", name)
		}
		for service, c := range top.file.Services {
			if slices.Contains(c.Secrets, name) {
				writeFile(t, filepath.Join(top.dir, service, "run/secrets", name), secrets[name], 0o400)
			}
		}
		if want := "secrets/" + name; source.File != want {
			t.Errorf("secret %s is in %s, want %s", name, source.File, want)
		}
	}
	for service, c := range top.file.Services {
		for _, config := range c.Configs {
			writeFile(t, top.path(service, config.Target), top.translate(service, readFile(t, filepath.Join(deployDir, top.file.Configs[config.Source].File))), 0o600)
		}
		for _, mount := range c.Tmpfs {
			if err := os.MkdirAll(top.path(service, strings.SplitN(mount, ":", 2)[0]), 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Cleanup(top.down)
	return top
}

func (top *topology) path(service, inside string) string {
	return filepath.Join(top.dir, service, inside)
}

var (
	hostAndPort = regexp.MustCompile(`[a-z0-9.-]+:[0-9]+\b`)
	ownPort     = regexp.MustCompile(`(listen=:|\blisten )([0-9]+)\b`)
	ownAddress  = regexp.MustCompile(`\b172\.[0-9]+\.[0-9]+\.[0-9]+`)
)

// translate makes text of a container's that of its process: it has other files, and all
// have other addresses.
func (top *topology) translate(service, text string) string {
	text = strings.NewReplacer("/run/secrets/", top.path(service, "/run/secrets")+"/", "/tmp/", top.path(service, "/tmp")+"/").Replace(text)
	text = hostAndPort.ReplaceAllStringFunc(text, func(found string) string {
		if actual, ok := top.addresses[found]; ok {
			return actual
		}
		return found
	})
	text = ownPort.ReplaceAllStringFunc(text, func(found string) string {
		parts := ownPort.FindStringSubmatch(found)
		return strings.TrimSuffix(parts[1], ":") + top.addresses[service+":"+parts[2]]
	})
	return ownAddress.ReplaceAllStringFunc(text, loopback)
}

// start runs a service until the test ends or stop is called.
func (top *topology) start(service, port string, extra ...string) {
	top.t.Helper()
	c := top.file.Services[service]
	var args []string
	for _, arg := range slices.Concat(c.Entrypoint, c.Command) {
		args = append(args, top.translate(service, arg))
	}
	env := slices.Clone(top.env)
	for name, value := range c.Environment {
		env = append(env, name+"="+top.translate(service, value))
	}
	if len(c.EnvFile) > 0 {
		env = append(env, strings.Fields(top.translate(service, readFile(top.t, filepath.Join(top.dir, service, c.EnvFile[0]))))...)
	}
	if c.Image == ownImage { // the image's entrypoint
		args = append([]string{os.Args[0]}, args...)
	} else {
		args[0] = tool(top.t, args[0], map[string]string{"nginx": "nginx-light", "redis-server": "redis-server"}[args[0]])
	}
	var output lockedBuffer
	child := &child{t: top.t, address: top.addresses[service+":"+port], command: func() *exec.Cmd {
		return &exec.Cmd{Path: args[0], Args: slices.Concat(args, extra), Env: env, Stdout: &output, Stderr: &output, SysProcAttr: &syscall.SysProcAttr{Setpgid: true}}
	}}
	child.start()
	top.children[service] = child
	top.outputs[service] = &output
}

// down stops all services at once.
func (top *topology) down() {
	var all sync.WaitGroup
	for service := range top.children {
		all.Go(func() {
			if err := top.stop(service); err != nil {
				top.t.Errorf("%s ended with %v", service, err)
			}
		})
	}
	all.Wait()
	for service, output := range top.outputs {
		if top.t.Failed() {
			top.t.Logf("%s: %s", service, output.String())
		}
	}
}

// stop stops a service as Compose does.
func (top *topology) stop(service string) error {
	child, c := top.children[service], top.file.Services[service]
	sig := map[string]syscall.Signal{"": syscall.SIGTERM, "SIGTERM": syscall.SIGTERM, "SIGQUIT": syscall.SIGQUIT}[c.StopSignal]
	grace := 10 * time.Second // Compose's
	if c.StopGracePeriod != "" {
		var err error
		if grace, err = time.ParseDuration(c.StopGracePeriod); err != nil {
			return err
		}
	}
	process := child.running.Process
	kill := time.AfterFunc(grace, func() { syscall.Kill(-process.Pid, syscall.SIGKILL) }) // nginx's workers too
	defer kill.Stop()
	return errors.Join(process.Signal(sig), child.running.Wait())
}

// whoami is an app that knows its users by a token of its login.
func whoami(t *testing.T, jwks string) *httptest.Server {
	t.Helper()
	authenticate, err := identity.NewOIDC(t.Context(), identity.OIDC{AccountsClaim: "grid_accounts", Issuers: []identity.Issuer{
		{Issuer: "https://id.example", Audience: demoAudience, Keys: identity.KeysFrom(jwks, identity.HTTP{})},
	}})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/whoami", func(w http.ResponseWriter, r *http.Request) {
		user, err := authenticate(r)
		if err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("X-Gridsigner-User", user.ID)
		w.Header().Set("X-Gridsigner-Accounts", strings.Join(user.Accounts, ","))
	})
	app := httptest.NewServer(mux)
	t.Cleanup(app.Close)
	return app
}

// metric is the sum of a metric's values on an operators' address.
func metric(t *testing.T, admin, name string) (sum float64) {
	t.Helper()
	_, text := fetch(t, "GET", "http://"+admin+"/metrics", "", nil)
	for line := range strings.Lines(text) {
		if labels, ok := strings.CutPrefix(strings.TrimSpace(line), name); ok && (labels[0] == '{' || labels[0] == ' ') {
			value, err := strconv.ParseFloat(labels[strings.LastIndexByte(labels, ' ')+1:], 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += value
		}
	}
	return sum
}
