package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gridsigner/bridge"
)

// stalled is a standard error that nobody reads until the test says so.
type stalled struct {
	read    chan struct{}
	failing atomic.Bool // with half of what it should write
	written lockedBuffer
}

func (s *stalled) Write(p []byte) (int, error) {
	<-s.read
	if s.failing.Load() {
		n, _ := s.written.Write(p[:len(p)/2])
		return n, io.ErrShortWrite
	}
	return s.written.Write(p)
}

// counter counts events, all of which must be of one kind.
func counter(t *testing.T, kind bridge.EventKind) (*atomic.Int32, func(bridge.Event)) {
	var n atomic.Int32
	return &n, func(e bridge.Event) {
		if e != (bridge.Event{Kind: kind}) {
			t.Errorf("event %v, want %s", e, kind)
		}
		n.Add(1)
	}
}

// TestNobodyReadsStandardError fills both queues: no write blocks, the traffic log is
// cut, the audit says that it takes no more, and all of it that was taken is
// written, in order and before what is left of the traffic log.
func TestNobodyReadsStandardError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &stalled{read: make(chan struct{})}
		drops, observe := counter(t, bridge.EventLog)
		s := newSink(out, observe)
		io.WriteString(trafficWriter{s}, "the first\n")
		synctest.Wait() // it is in the goroutine's hand
		for i := range trafficLines + 3 {
			fmt.Fprintf(trafficWriter{s}, "traffic %d\n", i)
		}
		if got := drops.Load(); got != 3 {
			t.Errorf("%d lines dropped, want 3", got)
		}
		line := make([]byte, 0, 32) // used again, as package slog does
		for i := range auditLines {
			line = fmt.Appendf(line[:0], "audit %d\n", i)
			if _, err := (auditWriter{s}).Write(line); err != nil {
				t.Fatalf("line %d: %v", i, err)
			}
		}
		if _, err := io.WriteString(auditWriter{s}, "one more\n"); err != errAuditFull {
			t.Errorf("one more: error = %v, want %v", err, errAuditFull)
		}
		close(out.read)
		synctest.Wait()
		var want strings.Builder
		want.WriteString("the first\n")
		for i := range auditLines {
			fmt.Fprintf(&want, "audit %d\n", i)
		}
		for i := range trafficLines {
			fmt.Fprintf(&want, "traffic %d\n", i)
		}
		rest, ok := strings.CutPrefix(out.written.String(), want.String())
		if !ok {
			t.Fatalf("%d bytes are not the %d that were taken, in order", len(out.written.String()), want.Len())
		}
		if strings.Count(rest, "\n") != 1 || !strings.Contains(rest, `"msg":"log lines dropped`) || !strings.Contains(rest, `"lines":3`) {
			t.Errorf("after them: %q, want one line that says three", rest)
		}
		io.WriteString(trafficWriter{s}, "the last\n")
		if err := s.close(); err != nil {
			t.Error(err)
		}
		if !strings.HasSuffix(out.written.String(), rest+"the last\n") {
			t.Errorf("the end is %q", out.written.String()[want.Len():])
		}
	})
}

// TestStandardErrorFails fails a write in the middle of a line: the audit takes nothing
// until it has been tried again, and the line becomes whole.
func TestStandardErrorFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &stalled{read: make(chan struct{})}
		close(out.read)
		out.failing.Store(true)
		s := newSink(out, func(bridge.Event) {})
		io.WriteString(auditWriter{s}, "the first\n")
		synctest.Wait()
		if _, err := io.WriteString(auditWriter{s}, "refused\n"); err != io.ErrShortWrite {
			t.Errorf("error = %v, want %v", err, io.ErrShortWrite)
		}
		out.failing.Store(false)
		time.Sleep(retryDelay) // on the bubble's clock
		synctest.Wait()
		if _, err := io.WriteString(auditWriter{s}, "the second\n"); err != nil {
			t.Error(err)
		}
		if err := s.close(); err != nil || out.written.String() != "the first\nthe second\n" {
			t.Errorf("written: %q, %v", out.written.String(), err)
		}
		if _, err := io.WriteString(auditWriter{s}, "too late\n"); err != errAuditEnded {
			t.Errorf("after the end: error = %v, want %v", err, errAuditEnded)
		}
	})
}

// writes are the sizes of what is written, once somebody reads.
type writes struct {
	read  chan struct{}
	sizes []int
}

func (w *writes) Write(p []byte) (int, error) {
	<-w.read
	w.sizes = append(w.sizes, len(p))
	return len(p), nil
}

// TestLinesThatWaitAreWrittenTogether writes as many whole lines at once as a pipe takes
// whole, and one that is longer by itself.
func TestLinesThatWaitAreWrittenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &writes{read: make(chan struct{})}
		s := newSink(out, func(bridge.Event) {})
		io.WriteString(trafficWriter{s}, "1\n")
		synctest.Wait() // it is in the goroutine's hand
		for _, size := range []int{1000, 1000, 96, 5000, 10} {
			trafficWriter{s}.Write(make([]byte, size))
		}
		for range 2 {
			auditWriter{s}.Write(make([]byte, 1000))
		}
		close(out.read)
		if err := s.close(); err != nil {
			t.Error(err)
		}
		if want := []int{2, 4096, 5000, 10}; !slices.Equal(out.sizes, want) {
			t.Errorf("written: %d, want %d", out.sizes, want)
		}
	})
}

// TestEndOfASinkThatIsNotRead ends all the same, and says whether that cost lines of the audit.
func TestEndOfASinkThatIsNotRead(t *testing.T) {
	for name, want := range map[string]error{"traffic": nil, "audit": errAuditLost} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				out := &stalled{read: make(chan struct{})}
				s := newSink(out, func(bridge.Event) {})
				var w io.Writer = trafficWriter{s}
				if name == "audit" {
					w = auditWriter{s}
				}
				io.WriteString(w, "a line\n")
				begin := time.Now()
				if err := s.close(); err != want || time.Since(begin) != flushTimeout { // of the bubble
					t.Errorf("close = %v after %s, want %v after %s", err, time.Since(begin), want, flushTimeout)
				}
				close(out.read)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // a write that fails is not tried again for longer than that
		out := &stalled{read: make(chan struct{})}
		close(out.read)
		out.failing.Store(true)
		s := newSink(out, func(bridge.Event) {})
		for range 100 {
			io.WriteString(auditWriter{s}, "a line\n")
		}
		if err := s.close(); err != errAuditLost {
			t.Errorf("close = %v, want %v", err, errAuditLost)
		}
	})
}

// audited are the settings of a bridge for whose user signedLeg sends what is audited: one
// without a Grid.
func audited(t *testing.T) (env map[string]string, args []string) {
	t.Helper()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Gridsigner-User", "user-1")
		w.Header().Set("X-Gridsigner-Accounts", "InternalAccount:019542f5-b3e7-1d02-0000-000000000001")
	}))
	t.Cleanup(app.Close)
	env = maps.Clone(serveEnv)
	env["GRID_BASE_URL"] = "http://127.0.0.1:1/grid"
	return env, []string{"serve", "--listen", "127.0.0.1:0", "--forward-auth", app.URL, "--limit-user", "1000/1s,1000", "--limit-address", "1000/1s,1000"}
}

// signedLeg sends what is audited whatever becomes of it.
func signedLeg(t *testing.T, base string) {
	t.Helper()
	resp, body := fetch(t, "DELETE", base+"/auth/sessions/Session:019542f5-b3e7-1d02-0000-000000000001", "",
		map[string]string{"X-Gridsigner": "1", "Request-Id": "Request:7c4a8d09-ca37-4e3e-9e0d-8c2b3e9a1f21", "Grid-Wallet-Signature": "AAAA", "Cookie": "a=b"})
	if resp.StatusCode != 502 {
		t.Fatalf("answer = %d %s, want 502", resp.StatusCode, body)
	}
}

// TestServeWithAStandardErrorThatIsNotRead answers more requests than a full pipe
// could ever log, and writes each line of the audit when somebody reads again.
func TestServeWithAStandardErrorThatIsNotRead(t *testing.T) {
	out, in := io.Pipe()
	stderr, stderrIn := io.Pipe()
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	env, args := audited(t)
	go func() {
		done <- run(ctx, args, func(n string) string { return env[n] }, in, stderrIn)
		stderrIn.Close()
	}()
	base := strings.TrimPrefix((&process{t: t, lines: bufio.NewReader(out)}).line(), "bridge listening on ")
	const requests = 20
	for range requests {
		signedLeg(t, base)
	}
	cancel()
	text, err := io.ReadAll(stderr)
	if err := errors.Join(err, <-done); err != nil {
		t.Error(err)
	}
	if got := strings.Count(string(text), `"msg":"audit"`); got != requests {
		t.Errorf("%d lines of the audit, want %d:\n%s", got, requests, text)
	}
}

// TestAuditFile rotates the file of a bridge at work: each line is in one of the two,
// and none on standard error.
func TestAuditFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	env, args := audited(t)
	p := start(t, env, append(args, "--audit-log", path)...)
	base := strings.TrimPrefix(p.line(), "bridge listening on ")
	signedLeg(t, base)
	assertAudit(t, path, 1) // when the answer is there, so is the line
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file's mode = %v, %v; want 0600", info.Mode(), err)
	}
	if err := errors.Join(os.Rename(path, path+".1"), syscall.Kill(os.Getpid(), syscall.SIGHUP)); err != nil {
		t.Fatal(err)
	}
	sent := 1
	for deadline := time.Now().Add(time.Minute); ; {
		signedLeg(t, base)
		sent++
		if _, err := os.Stat(path); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the file is not opened again")
		}
	}
	signedLeg(t, base)
	before, _ := os.ReadFile(path + ".1")
	assertAudit(t, path, sent+1-bytes.Count(before, []byte("\n")))
	if strings.Contains(p.stderr.String(), `"msg":"audit"`) {
		t.Errorf("standard error has lines of the audit:\n%s", p.stderr.String())
	}
}

// assertAudit wants n lines of the audit in the file, and nothing else.
func assertAudit(t *testing.T, path string, n int) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil || n < 1 || bytes.Count(text, []byte("\n")) != n || bytes.Count(text, []byte(`"msg":"audit"`)) != n {
		t.Errorf("the file has %q, %v; want %d lines of the audit", text, err, n)
	}
}

// TestAuditFileFails wants the error of a file that cannot be written, and whole lines
// after it.
func TestAuditFileFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	a, err := openAuditFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	log := slog.NewJSONHandler(a, nil)
	record := slog.Record{Message: "audit"}
	good := a.file
	broken, err := os.Open(path) // not for writing
	if err != nil {
		t.Fatal(err)
	}
	defer broken.Close()
	a.file = broken
	if err := log.Handle(t.Context(), record); err == nil {
		t.Error("a line that could not be written is no error")
	}
	a.file = good
	if _, err := good.WriteString("half a li"); err != nil {
		t.Fatal(err)
	}
	a.torn = true                      // as after a disk that was full
	if err := a.reopen(); err != nil { // the same file: it is torn as before
		t.Fatal(err)
	}
	for range 2 {
		if err := log.Handle(t.Context(), record); err != nil {
			t.Error(err)
		}
	}
	text, err := os.ReadFile(path)
	if got := strings.Split(string(text), "\n"); err != nil || len(got) != 4 || got[0] != "half a li" || got[1] != got[2] || !strings.HasPrefix(got[1], "{") {
		t.Errorf("the file has %q, %v", text, err)
	}
}

// TestAuditFileIsChecked wants no file left behind by a check, and none changed.
func TestAuditFileIsChecked(t *testing.T) {
	dir := t.TempDir()
	there, pipe := filepath.Join(dir, "there"), filepath.Join(dir, "pipe")
	if err := errors.Join(os.WriteFile(there, []byte("a line\n"), 0o600), syscall.Mkfifo(pipe, 0o600)); err != nil {
		t.Fatal(err)
	}
	app := newApp(t)
	for path, want := range map[string]string{
		filepath.Join(dir, "new"): "", there: "", "stderr": "",
		dir: "not a regular file", pipe: "not a regular file", filepath.Join(dir, "none", "audit.log"): "no such file", "": "no such file",
	} {
		err := run(t.Context(), []string{"serve", "--config-check", "--audit-log", path, "--forward-auth", app}, func(n string) string { return serveEnv[n] }, io.Discard, io.Discard)
		if (err == nil) != (want == "") || err != nil && !(strings.Contains(err.Error(), "--audit-log") && strings.Contains(err.Error(), want)) {
			t.Errorf("%q: error = %v, want one with %q", path, err, want)
		}
	}
	entries, err := os.ReadDir(dir)
	text, errRead := os.ReadFile(there)
	if err != nil || len(entries) != 2 || errRead != nil || string(text) != "a line\n" {
		t.Errorf("after the checks: %v, %v; %q, %v", entries, err, text, errRead)
	}
}

// auditedProcess is the bridge of audited as a process of its own, with its standard error
// and base URL.
func auditedProcess(t *testing.T) (cmd *exec.Cmd, stderr io.ReadCloser, base string) {
	t.Helper()
	env, args := audited(t)
	cmd = exec.CommandContext(t.Context(), program(t), args...)
	cmd.Env = append(os.Environ(), "RUN_AS_GRIDBRIDGE=1")
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	stdout, errOut := cmd.StdoutPipe()
	stderr, errErr := cmd.StderrPipe()
	if err := errors.Join(errOut, errErr, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	return cmd, stderr, strings.TrimPrefix((&process{t: t, lines: bufio.NewReader(stdout)}).line(), "bridge listening on ")
}

// TestStopWithAStandardErrorThatIsNotRead stops a process whose standard error is full,
// and which has lines of the audit for it.
func TestStopWithAStandardErrorThatIsNotRead(t *testing.T) {
	cmd, stderr, base := auditedProcess(t)
	defer stderr.Close() // and not read
	for range 300 {      // of two lines each: more than a pipe holds
		signedLeg(t, base)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
		t.Errorf("end = %v, want exit status 1, as lines of the audit are lost", err)
	}
}

// TestServeWithAStandardErrorThatIsClosed has whoever reads standard error end, as a program
// behind a pipe may: the bridge goes on.
func TestServeWithAStandardErrorThatIsClosed(t *testing.T) {
	cmd, stderr, base := auditedProcess(t)
	stderr.Close()
	for range 10 {
		if resp, body := fetch(t, "GET", base+"/auth/sessions", "", nil); resp.StatusCode != 401 {
			t.Fatalf("answer = %d %s, want 401", resp.StatusCode, body)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil && !cmd.ProcessState.Exited() {
		t.Errorf("end = %v, want an exit", err)
	}
}
