package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestListenOnSocket takes the place of a socket whose process was killed, and of nothing else.
func TestListenOnSocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	killed, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	killed.SetUnlinkOnClose(false)
	killed.Close()
	ln, err := listenOn("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode = %v, %v; want 0660", info.Mode(), err)
	}
	if second, err := listenOn("unix:" + path); err == nil || !strings.Contains(err.Error(), "another process answers") {
		t.Errorf("%v, %v: on a socket that another process has", second, err)
	}
	ln.Close()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the end: %v, want no file", err)
	}
	busy := filepath.Join(dir, "busy") // a bridge that has too much to do to accept more
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err := errors.Join(err, syscall.Bind(fd, &syscall.SockaddrUnix{Name: busy}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	for range 100 {
		conn, err := net.Dial("unix", busy)
		if err != nil {
			break
		}
		defer conn.Close()
	}
	if ln, err := listenOn("unix:" + busy); err == nil {
		ln.Close()
		t.Error("a busy bridge's socket was taken")
	}
	if _, err := os.Lstat(busy); err != nil {
		t.Errorf("a busy bridge's socket: %v", err)
	}
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(file, []byte("kept"), 0o600), os.Symlink(file, link)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, link, dir} {
		if _, err := listenOn("unix:" + path); err == nil || !strings.Contains(err.Error(), "is no socket") {
			t.Errorf("%s: error = %v", filepath.Base(path), err)
		}
	}
	if text, err := os.ReadFile(file); string(text) != "kept" {
		t.Errorf("the file is now %q, %v", text, err)
	}
}

// TestListenAddresses wants what can be listened on, and two of them.
func TestListenAddresses(t *testing.T) {
	for _, v := range []struct {
		listen, admin, want string
	}{
		{"unix:/run/a.sock", "unix:/run/b.sock", ""},
		{"unix:/run/a.sock", "127.0.0.1:9090", ""},
		{"unix:/run/a.sock", "unix:/run/a.sock", "--admin-listen"},
		{"unix:a.sock", "", "--listen"},
		{"unix:", "", "--listen"},
		{"unix:/" + strings.Repeat("a", 107), "", "--listen"},
		{"127.0.0.1:80", "unix:" + strings.Repeat("/a", 100), "--admin-listen"},
	} {
		var s settings
		s.flags()
		s.listen, s.adminListen = v.listen, v.admin
		err := s.check()
		if (err == nil) != (v.want == "") || err != nil && (strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), v.want)) {
			t.Errorf("%s and %s: error = %v, want one of %q", v.listen, v.admin, err, v.want)
		}
	}
}
