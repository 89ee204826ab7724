package main

import (
	"debug/elf"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"gridsigner/bridge"
)

// stage is a stage of a Dockerfile, built without Docker: its root is a directory.
type stage struct {
	root, dir       string // dir is where its instructions work
	uid, gid        int
	entrypoint, cmd []string
}

// buildImage does what the Dockerfile says, and returns its last stage. What a stage would
// have of its base image, this machine has.
func buildImage(t *testing.T) *stage {
	t.Helper()
	stages := map[string]*stage{}
	var s *stage
	for line := range strings.Lines(readFile(t, deployDir+"/Dockerfile")) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if strings.HasSuffix(line, `\`) {
			t.Fatalf("%s: goes on in the next line, which this test does not read", line)
		}
		name, rest, _ := strings.Cut(line, " ")
		words := strings.Fields(rest)
		switch name {
		case "FROM":
			s = &stage{root: filepath.Join(t.TempDir(), "root"), dir: "/"}
			if err := os.Mkdir(s.root, 0o755); err != nil {
				t.Fatal(err)
			}
			if len(words) == 3 && words[1] == "AS" {
				stages[words[2]] = s
			}
			_, module, _ := strings.Cut(readFile(t, repository+"/go.mod"), "\ngo ")
			minor := strings.Join(strings.SplitN(module, ".", 3)[:2], ".")
			if base := words[0]; base != "scratch" && !strings.HasPrefix(base, "golang:"+minor+"-") {
				t.Fatalf("FROM %s: want scratch, or golang:%s as in go.mod", base, minor)
			}
		case "WORKDIR":
			s.dir = rest
			if err := os.MkdirAll(s.root+s.dir, 0o755); err != nil {
				t.Fatal(err)
			}
		case "COPY":
			from, isStage := strings.CutPrefix(words[0], "--from=")
			if isStage {
				words = words[1:]
			}
			for _, src := range words[:len(words)-1] {
				switch {
				case !isStage:
					s.copyContext(t, src, words[len(words)-1])
				case exists(stages[from].root + src):
					s.copy(t, stages[from].root+src, words[len(words)-1])
				default:
					s.copy(t, src, words[len(words)-1])
				}
			}
		case "RUN":
			cmd := exec.CommandContext(t.Context(), "sh", "-c", rest)
			cmd.Dir = s.root + s.dir
			cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "MFLAGS=") })
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", line, err, out)
			}
		case "USER":
			uid, gid, _ := strings.Cut(rest, ":")
			var errs [2]error
			s.uid, errs[0] = strconv.Atoi(uid)
			s.gid, errs[1] = strconv.Atoi(gid)
			if errs != [2]error{} || s.uid == 0 || s.gid == 0 {
				t.Fatalf("USER %s: want numbers, as the image has no names, and not root", rest)
			}
		case "ENTRYPOINT", "CMD":
			of := map[string]*[]string{"ENTRYPOINT": &s.entrypoint, "CMD": &s.cmd}[name]
			if err := json.Unmarshal([]byte(rest), of); err != nil {
				t.Fatalf("%s: %v: without a shell it must be a list", line, err)
			}
		case "ARG", "LABEL", "EXPOSE":
		default:
			t.Fatalf("%s: an instruction that this test does not know", name)
		}
	}
	return s
}

func exists(name string) bool { _, err := os.Stat(name); return err == nil }

// copy does what COPY does: what is in a directory, or a file.
func (s *stage) copy(t *testing.T, src, dst string) {
	t.Helper()
	to := dst
	if !path.IsAbs(to) {
		to = path.Join(s.dir, dst)
	}
	to = filepath.Join(s.root, to)
	info, err := os.Stat(src)
	if err != nil {
		t.Fatal(err)
	}
	if info.IsDir() {
		err = os.CopyFS(to, os.DirFS(src))
	} else {
		if strings.HasSuffix(dst, "/") || dst == "." {
			to = filepath.Join(to, filepath.Base(src))
		}
		writeFile(t, to, readFile(t, src), info.Mode().Perm())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// copyContext copies what .dockerignore lets through of a file or directory of the
// repository: it keeps everything out ("*") but what it names ("!bridge"), and of that
// again some ("bridge/deploy").
func (s *stage) copyContext(t *testing.T, src, dst string) {
	t.Helper()
	rules := strings.Fields(regexp.MustCompile(`(?m)^#.*$`).ReplaceAllString(readFile(t, repository+"/.dockerignore"), ""))
	if rules[0] != "*" || !slices.Contains(rules, "!"+src) {
		t.Fatalf("COPY %s: .dockerignore keeps it out, or lets everything in", src)
	}
	s.copy(t, filepath.Join(repository, src), dst)
	for _, rule := range rules[1:] {
		if below, ok := strings.CutPrefix(rule, src+"/"); ok {
			if err := os.RemoveAll(filepath.Join(s.root, s.dir, dst, below)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestImage builds what the Dockerfile says, and has users meet the bridge that runs where
// there is nothing else, as a user who can write nowhere.
func TestImage(t *testing.T) {
	t.Parallel()
	image := buildImage(t)
	program, err := elf.Open(filepath.Join(image.root, image.entrypoint[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	if libraries, err := program.ImportedLibraries(); err != nil || len(libraries) > 0 || slices.ContainsFunc(program.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		t.Errorf("the program is not static: libraries %q, %v", libraries, err)
	}
	var files []string
	err = filepath.WalkDir(image.root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o022 != 0 {
			t.Errorf("%s can be written to: mode %s", name, info.Mode())
		}
		if !entry.IsDir() {
			files = append(files, strings.TrimPrefix(name, image.root))
		}
		return err
	})
	if want := []string{"/etc/ssl/certs/ca-certificates.crt", "/gridbridge"}; err != nil || !slices.Equal(files, want) {
		t.Fatalf("the image holds %q, %v; want %q", files, err, want)
	}

	// Grid has a certificate of an authority that the image trusts.
	sim := start(t, nil, "simulate", "--json").ready()
	grid := httptest.NewTLSServer(forward(t, sim.URL))
	defer grid.Close()
	trusted := filepath.Join(image.root, files[0])
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: grid.Certificate().Raw})
	writeFile(t, trusted, readFile(t, trusted)+string(authority), 0o644)
	idp, jwks := appLogin(t, sim.Seed)
	login, err := idp.login(strings.Repeat("02", 33))
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{"grid-id": sim.ClientID, "grid-secret": sim.ClientSecret, "jwks.json": readFile(t, jwks)}
	root := os.Geteuid() == 0
	for name, text := range secrets {
		file := filepath.Join(image.root, "run/secrets", name)
		writeFile(t, file, text, 0o400)
		if root {
			if err := os.Chown(file, image.uid, image.gid); err != nil {
				t.Fatal(err)
			}
		}
	}
	address, mounts := freeAddresses(t, 1)[0], "/run/secrets"
	attributes := &syscall.SysProcAttr{Chroot: image.root, Credential: &syscall.Credential{Uid: uint32(image.uid), Gid: uint32(image.gid)}}
	command, env := slices.Concat(image.entrypoint, image.cmd), []string{}
	if !root {
		t.Log("not root: the program runs among this machine's files, and as this user; only its own are those of the image")
		mounts, attributes, command[0] = image.root+mounts, nil, image.root+command[0]
		env = append(env, "SSL_CERT_DIR=/nowhere", "SSL_CERT_FILE="+trusted)
	}
	env = append(env, "GRID_BASE_URL="+grid.URL+gridPath, "GRID_CLIENT_ID_FILE="+mounts+"/grid-id", "GRID_CLIENT_SECRET_FILE="+mounts+"/grid-secret",
		"GRIDBRIDGE_LISTEN="+address, "GRIDBRIDGE_JWKS="+mounts+"/jwks.json", "GRIDBRIDGE_ISSUER=https://id.example", "GRIDBRIDGE_AUDIENCE="+demoAudience)
	var stderr lockedBuffer
	c := &child{t: t, address: address, command: func() *exec.Cmd {
		return &exec.Cmd{Path: command[0], Args: command, Dir: "/", Env: env, SysProcAttr: attributes, Stderr: &stderr}
	}}
	c.start()
	defer c.kill()
	passes(t, "http://"+address+bridge.DefaultPrefix, sim.AccountID, login.AccessToken, "")
	if err := errors.Join(c.running.Process.Signal(syscall.SIGTERM), c.running.Wait()); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if t.Failed() {
		t.Log(stderr.String())
	}
}
