package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// Content security policies: the page may load only what this site serves, and
// only the worker may compile WebAssembly.
const (
	pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
		"worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	workerPolicy = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'"
)

// contentTypes are the types of the files that the build makes. The system's
// own table differs from machine to machine.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".json": "application/json",
	".map":  "application/json",
	".svg":  "image/svg+xml",
	".png":  "image/png",
	".wasm": "application/wasm",
	".ts":   "text/plain; charset=utf-8",
}

// site serves the built web files. The root keeps every path inside its
// directory, symbolic links included.
type site struct{ root *os.Root }

// openSite opens dir or, if that is "", web/dist here or beside the directory
// of the program.
func openSite(dir string) (*site, error) {
	dirs := []string{dir}
	if dir == "" {
		dirs = []string{filepath.Join("web", "dist")}
		if program, err := os.Executable(); err == nil {
			dirs = append(dirs, filepath.Join(filepath.Dir(program), "..", "web", "dist"))
		}
	}
	for _, dir := range dirs {
		root, err := os.OpenRoot(dir)
		if err == nil {
			return &site{root}, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("--web: %w", err)
		}
	}
	return nil, fmt.Errorf("--web: no built web files in %s", strings.Join(dirs, " or "))
}

// ServeHTTP serves a file, compressed if there is a sibling that the client can
// read. Browsers ask again each time (no-cache) and mostly get a 304.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Content-Security-Policy", pagePolicy)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "GET and HEAD only", http.StatusMethodNotAllowed)
		return
	}
	if r.URL.Path == "/" || r.URL.Path == "/demo" {
		http.Redirect(w, r, "/demo/", http.StatusFound)
		return
	}
	name := strings.TrimPrefix(r.URL.Path, "/")
	if strings.HasSuffix(name, "/") {
		name += "index.html"
	}
	body, encoding, err := s.read(name, r.Header.Get("Accept-Encoding"))
	if err != nil {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	if name == "worker.js" {
		h.Set("Content-Security-Policy", workerPolicy)
	}
	contentType := contentTypes[path.Ext(name)]
	if contentType == "" {
		contentType = "application/octet-stream"
	}
	sum := sha256.Sum256(body)
	tag := `"` + hex.EncodeToString(sum[:16]) + `"`
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-cache")
	h.Set("Vary", "Accept-Encoding")
	h.Set("ETag", tag)
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if encoding != "" {
		h.Set("Content-Encoding", encoding)
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body) // the browser may be gone: nothing to do about it
}

// read returns the file, or its smallest sibling that accept allows and the
// name of that one's encoding.
func (s *site) read(name, accept string) (body []byte, encoding string, err error) {
	for _, c := range []struct{ encoding, suffix string }{{"br", ".br"}, {"gzip", ".gz"}} {
		if !accepts(accept, c.encoding) {
			continue
		}
		if body, err := s.root.ReadFile(name + c.suffix); err == nil {
			return body, c.encoding, nil
		}
	}
	body, err = s.root.ReadFile(name)
	return body, "", err
}

// accepts reports whether an Accept-Encoding header names encoding without
// ruling it out (RFC 9110, 12.5.3).
func accepts(header, encoding string) bool {
	for item := range strings.SplitSeq(header, ",") {
		name, params, _ := strings.Cut(item, ";")
		if strings.TrimSpace(name) != encoding {
			continue
		}
		weight, hasWeight := strings.CutPrefix(strings.TrimSpace(params), "q=")
		q, err := strconv.ParseFloat(weight, 64)
		return !hasWeight || err == nil && q > 0
	}
	return false
}
