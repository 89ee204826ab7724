package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"gridsigner/bridge/gridsim"
)

// command is a block of commands in a README, and what the marker before it says of how it is
// run, after the path of the file that does.
type command struct{ how, script string }

// commands are all blocks of commands in a README. One that nothing runs is one that is wrong
// some day.
func commands(t *testing.T, file string) (all []command) {
	t.Helper()
	marked := regexp.MustCompile("(?s)(?:<!-- run by bridge/cmd/gridbridge/(?:readme|contributing)_test.go(.*?) -->\n)?```([a-z]*)\n(.*?)\n```")
	for _, m := range marked.FindAllStringSubmatch(readFile(t, file), -1) {
		if m[2] == "bash" { // others are another test's
			all = append(all, command{m[1], m[3]})
		}
	}
	return all
}

// asReader runs a block as a reader would, in dir of what is like the project's root, and
// returns what it prints. Programs of standIns are found first.
func asReader(t *testing.T, root, dir, script string, env ...string) string {
	t.Helper()
	project, err := filepath.Abs(repository)
	if err != nil {
		t.Fatal(err)
	}
	for name, of := range map[string]string{"bin/gridbridge": program(t), "bridge/deploy": filepath.Join(project, "bridge", "deploy")} {
		link := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(link), 0o700), os.Symlink(of, link)); err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) } // so that its trap ends what it started
	cmd.WaitDelay = 10 * time.Second
	cmd.Dir = filepath.Join(root, dir)
	cmd.Env = append(append(os.Environ(), "RUN_AS_GRIDBRIDGE=1", "PATH="+filepath.Join(root, "bin")+":"+os.Getenv("PATH")), env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, &stderr)
	}
	return string(out)
}

// byHand marks the block that a person pastes.
const byHand = ", by hand"

// TestReadmeCommands pastes the README's block of commands into shells: two processes, curl, and
// signatures made by OpenSSL. The shells must be there when it is over, whichever way it ends.
func TestReadmeCommands(t *testing.T) {
	t.Parallel()
	var script string
	for _, c := range commands(t, repository+"/bridge/README.md") {
		if c.how == byHand {
			script = c.script
		}
	}
	for _, name := range []string{"curl", "openssl"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("this test needs %s: install it", name)
		}
	}
	searched := withoutGridbridge(t)
	for _, shell := range []string{"bash", "dash"} {
		shell := tool(t, shell, shell)
		for _, v := range []struct{ name, where, installed, want string }{
			{"in the root", "root", "", "202\n204\n404\n"},
			{"elsewhere, with it installed", "elsewhere", "path/gridbridge", "202\n204\n404\n"},
			{"elsewhere", "elsewhere", "", "no bin/gridbridge here: make build, in the project's root\n"},
			{"with one that ends at once", "broken", "", "no port left\n"},
		} {
			t.Run(filepath.Base(shell)+" "+v.name, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				for _, name := range []string{"root/bin", "elsewhere", "broken/bin", "path", "tmp"} {
					if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
						t.Fatal(err)
					}
				}
				writeFile(t, filepath.Join(dir, "broken/bin/gridbridge"), "#!/bin/sh\necho no port left >&2\nexit 1\n", 0o700)
				for link, of := range map[string]string{"root/bin/gridbridge": program(t), v.installed: program(t), "path/sh": shell} {
					if err := os.Symlink(of, filepath.Join(dir, link)); link != "" && err != nil {
						t.Fatal(err)
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
				defer cancel()
				cmd := exec.CommandContext(ctx, shell)
				cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
				cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
				cmd.WaitDelay = 10 * time.Second
				cmd.Dir = filepath.Join(dir, v.where)
				cmd.Env = append(os.Environ(), "RUN_AS_GRIDBRIDGE=1", "TMPDIR="+filepath.Join(dir, "tmp"), "PATH="+filepath.Join(dir, "path")+":"+searched)
				cmd.Stdin = strings.NewReader(script + "\necho still here\n")
				out, err := cmd.CombinedOutput()
				if got, want := string(out), v.want+"still here\n"; err != nil || got != want {
					t.Errorf("printed %q, %v, want %q", got, err, want)
				}
				if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
					t.Errorf("left behind are %v, %v", left, err)
				}
			})
		}
	}
}

// withoutGridbridge is a PATH like that of the machine, where somebody may have installed one:
// instead of a directory that has it, it has one of links to all else that is there.
func withoutGridbridge(t *testing.T) string {
	t.Helper()
	dirs := filepath.SplitList(os.Getenv("PATH"))
	for i, dir := range dirs {
		if !exists(filepath.Join(dir, "gridbridge")) {
			continue
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		dirs[i] = t.TempDir()
		for _, entry := range entries {
			if name := entry.Name(); name != "gridbridge" {
				if err := os.Symlink(filepath.Join(dir, name), filepath.Join(dirs[i], name)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return strings.Join(dirs, string(filepath.ListSeparator))
}

// TestOperatorsCommands runs each block of commands of the operators' page.
func TestOperatorsCommands(t *testing.T) {
	ways := map[string]func(*testing.T, string){
		"": twoReplicas, ", as a --config-check": isConfiguration, ", with docker stood in for": byCompose,
		", with systemctl stood in for": bySystemd, byHand: nil, ", with a cluster stood in for": byKubernetes,
	}
	ran := map[string]int{}
	for _, c := range commands(t, repository+"/bridge/README.md") {
		run, ok := ways[c.how]
		if !ok {
			t.Errorf("it is not known how to run\n%s", c.script)
			continue
		}
		ran[c.how]++
		if c.how == byHand {
			continue // TestReadmeCommands pastes it
		}
		t.Run(fmt.Sprint(strings.Trim(c.how, ", "), ran[c.how]), func(t *testing.T) {
			t.Parallel()
			run(t, c.script)
		})
	}
	if len(ran) != len(ways) {
		t.Errorf("ran %v", ran)
	}
}

// twoReplicas runs the block by which the page begins: Redis, nginx and two replicas, which the
// conformance suite passes on. Its ports are others, as somebody else may have them.
func twoReplicas(t *testing.T, script string) {
	tool(t, "nginx", "nginx-light")
	tool(t, "redis-server", "redis-server")
	ports := []string{"13000", "18080", "18443", "16379"}
	for i, address := range freeAddresses(t, len(ports)) {
		_, free, _ := net.SplitHostPort(address)
		script = regexp.MustCompile(`(127\.0\.0\.1[:/]|port |localhost:)`+ports[i]).ReplaceAllString(script, "${1}"+free)
	}
	out := asReader(t, t.TempDir(), "", script)
	for _, want := range []string{"the configuration is good\n", "ok\nok\n", "gridbridge_shared_up 1\n", `"msg":"listening"`} {
		if !strings.Contains(out, want) {
			t.Errorf("printed %q, want %q in it", out, want)
		}
	}
}

// isConfiguration has serve check what the block would start, with an issuer and an app of the
// test's own.
func isConfiguration(t *testing.T, script string) {
	mux := http.NewServeMux()
	others := httptest.NewServer(mux)
	defer others.Close()
	_, jwks := appLogin(t, gridsim.Seed{})
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":"%s/keys"}`, others.URL, others.URL)
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, jwks) })
	mux.HandleFunc("/whoami", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401) })
	root := t.TempDir()
	for _, name := range []string{"grid-id", "grid-secret"} {
		writeFile(t, filepath.Join(root, name), name+"\n", 0o600)
	}
	script = strings.NewReplacer("/run/secrets", root, "https://login.example", others.URL, "http://127.0.0.1:3000", others.URL).Replace(script)
	out := asReader(t, root, "", script+" --config-check", "GRID_CLIENT_ID_FILE="+root+"/grid-id", "GRID_CLIENT_SECRET_FILE="+root+"/grid-secret")
	if out != "the configuration is good\n" {
		t.Errorf("printed %q", out)
	}
}

// standIn is a program of root's that writes down how it was called, and does what script says.
func standIn(t *testing.T, root, name, script string) {
	t.Helper()
	writeFile(t, filepath.Join(root, "bin", name), "#!/bin/sh\necho "+name+` "$@" >> "`+root+`/calls"`+"\n"+script+"\n", 0o700)
}

// credentials are what a reader has in variables.
var credentials = []string{"GRID_CLIENT_ID=the-id", "GRID_CLIENT_SECRET=the-secret", "REDIS_PASSWORD=the-password"}

// byCompose wants every file to be there that compose.yaml reads, or nginx.conf to be as it was,
// once the replica is replaced that it had left out.
func byCompose(t *testing.T, script string) {
	root := t.TempDir()
	standIn(t, root, "chown", "") // which is for root
	for _, name := range []string{"compose.yaml", "nginx.conf"} {
		writeFile(t, filepath.Join(root, "here", name), readFile(t, deployDir+"/"+name), 0o600)
	}
	cert, key := newPair(t, "the one")
	for name, of := range map[string]string{"tls.crt": cert, "tls.key": key} {
		writeFile(t, filepath.Join(root, "here", name), readFile(t, of), 0o600)
	}
	standIn(t, root, "docker", `case "$*" in *force-recreate*) cp nginx.conf while-replaced ;; esac`)
	asReader(t, root, "here", script, append(credentials, "APP_CONTAINER=my-app")...)
	if strings.Contains(script, " down/") {
		down := strings.ReplaceAll(readFile(t, deployDir+"/nginx.conf"), "server 172.31.84.11:8080", "server 172.31.84.11:8080 down")
		calls := readFile(t, root+"/calls")
		if readFile(t, root+"/here/nginx.conf") != readFile(t, deployDir+"/nginx.conf") || readFile(t, root+"/here/while-replaced") != down || strings.Count(calls, "docker") != 3 {
			t.Errorf("nginx.conf is not what it was, or was not what it should have been; called were\n%s", calls)
		}
		return
	}
	if got := readFile(t, root+"/calls"); got != "chown -R 65532:65532 secrets\ndocker compose up --detach --build\ndocker network connect --alias app gridbridge_app my-app\n" {
		t.Errorf("called were\n%s", got)
	}
	file := readCompose(t)
	files := []string{"secrets/gridbridge.env"}
	for _, secret := range file.Secrets {
		files = append(files, secret.File)
	}
	for _, config := range file.Configs {
		files = append(files, config.File)
	}
	for _, name := range files {
		if info, err := os.Stat(filepath.Join(root, "here", name)); err != nil || info.Size() == 0 {
			t.Errorf("compose.yaml reads %s: %v", name, err)
		}
	}
}

// bySystemd wants every file to be there that the unit reads.
func bySystemd(t *testing.T, script string) {
	root := t.TempDir()
	standIn(t, root, "systemctl", "")
	for _, dir := range []string{"/usr/local/bin", "/etc/systemd/system", "/etc/nginx"} {
		if err := os.MkdirAll(root+dir, 0o700); err != nil {
			t.Fatal(err)
		}
		script = strings.ReplaceAll(script, " "+dir, " "+root+dir)
	}
	script = strings.ReplaceAll(script, " /etc/gridbridge", " "+root+"/etc/gridbridge")
	asReader(t, root, "", script, credentials...)
	if got := readFile(t, root+"/calls"); got != "systemctl daemon-reload\nsystemctl enable --now gridbridge@1 gridbridge@2\nsystemctl reload nginx\n" {
		t.Errorf("called were\n%s", got)
	}
	if nginx := readFile(t, root+"/etc/nginx/nginx.conf"); strings.Count(nginx, "server 127.0.0.1:808") != 2 || strings.Count(nginx, "/etc/gridbridge/tls.") != 2 {
		t.Errorf("nginx has\n%s", nginx)
	}
	unit := readFile(t, root+"/etc/systemd/system/gridbridge@.service")
	read := regexp.MustCompile(`/(etc/gridbridge|usr/local/bin)/[a-z-]+`).FindAllString(unit, -1)
	for _, name := range read {
		if info, err := os.Stat(root + name); err != nil || info.Size() == 0 {
			t.Errorf("the unit reads %s: %v", name, err)
		}
	}
	if len(read) < 5 {
		t.Errorf("the unit reads %q", read)
	}
}

// byKubernetes has kubectl make the Secret, as there is no cluster to make it in, and wants it to
// have what the Deployment reads.
func byKubernetes(t *testing.T, script string) {
	real := tool(t, "kubectl", "kubernetes-client")
	root := t.TempDir()
	standIn(t, root, "docker", "")
	standIn(t, root, "git", "echo the-revision")
	standIn(t, root, "kubectl", `case $1 in create) exec `+real+` "$@" --dry-run=client -o yaml ;; apply) exec cat "$3" ;; esac`)
	out := asReader(t, root, "", script, credentials...)
	secret, rest, _ := strings.Cut(out, "kind: Secret")
	if !strings.Contains(rest, "kind: Deployment") || !strings.HasSuffix(readFile(t, root+"/calls"), "kubectl rollout status deployment/gridbridge\n") {
		t.Errorf("printed\n%s", out)
	}
	for _, key := range []string{"grid-id", "grid-secret", "gridbridge-key", "redis-url"} {
		if !strings.Contains(secret, "\n  "+key+": ") || !strings.Contains(rest, "key: "+key) {
			t.Errorf("%s is not in the Secret, or not in the Deployment", key)
		}
	}
}
