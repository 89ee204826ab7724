package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/andybalholm/brotli"
)

// buildInfo is build-info.json: what the package is made of, and from what. It holds
// nothing that depends on when or where.
type buildInfo struct {
	Version   string              `json:"version"` // of the package
	Go        string              `json:"go"`
	Secp256k1 string              `json:"secp256k1"`
	Files     map[string]fileInfo `json:"files"`
}

type fileInfo struct {
	SHA256    string `json:"sha256"`
	Integrity string `json:"integrity"` // for an integrity attribute: Subresource Integrity, W3C
	Size      int    `json:"size"`
	Brotli    int    `json:"brotli,omitempty"`
	Gzip      int    `json:"gzip,omitempty"`
}

// served are the files that a server sends compressed.
var served = []string{".js", ".wasm", ".css", ".html", ".svg"}

// writeAll writes the files and, beside each that is served, its .br and .gz for servers
// that send those as they are. What an earlier build left of the demo goes first, so that a
// file dropped from the sources is dropped from the output.
func writeAll(out string, files map[string][]byte) (buildInfo, error) {
	info := buildInfo{Files: map[string]fileInfo{}}
	if err := os.RemoveAll(filepath.Join(out, "demo")); err != nil {
		return info, err
	}
	for name, content := range files {
		path := filepath.Join(out, filepath.FromSlash(name))
		all := map[string][]byte{"": content}
		if slices.Contains(served, filepath.Ext(name)) {
			br, gz, err := compressed(path, content)
			if err != nil {
				return info, fmt.Errorf("compressing %s: %w", name, err)
			}
			all[".br"], all[".gz"] = br, gz
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return info, err
		}
		for suffix, bytes := range all {
			if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) { // the linker's module can be executed
				return info, err
			}
			if err := os.WriteFile(path+suffix, bytes, 0o644); err != nil {
				return info, err
			}
		}
		if strings.HasPrefix(name, "demo/") {
			continue
		}
		sri := sha512.Sum384(content)
		info.Files[name] = fileInfo{
			fmt.Sprintf("%x", sha256.Sum256(content)), "sha384-" + base64.StdEncoding.EncodeToString(sri[:]), len(content), len(all[".br"]), len(all[".gz"]),
		}
	}
	return info, nil
}

// compressed returns what an earlier build compressed, where it is of this very content, or
// compresses it anew, which takes seconds.
func compressed(path string, content []byte) (br, gz []byte, err error) {
	br, errBr := os.ReadFile(path + ".br")
	gz, errGz := os.ReadFile(path + ".gz")
	if errBr == nil && errGz == nil && isOf(content, brotli.NewReader(bytes.NewReader(br))) {
		if r, err := gzip.NewReader(bytes.NewReader(gz)); err == nil && isOf(content, r) {
			return br, gz, nil
		}
	}
	return compress(content)
}

// isOf reports whether r has exactly the content.
func isOf(content []byte, r io.Reader) bool {
	text, err := io.ReadAll(io.LimitReader(r, int64(len(content))+1))
	return err == nil && bytes.Equal(text, content)
}

// maxWindow is the largest brotli window that browsers accept: 16 MiB, more
// than any of these files has.
const maxWindow = 24

// compress uses the best level of both: it is done once and downloaded often.
func compress(content []byte) (br, gz []byte, err error) {
	var b, g bytes.Buffer
	bw := brotli.NewWriterOptions(&b, brotli.WriterOptions{Quality: brotli.BestCompression, LGWin: maxWindow})
	if _, err = bw.Write(content); err == nil {
		err = bw.Close()
	}
	if err != nil {
		return nil, nil, err
	}
	gw, err := gzip.NewWriterLevel(&g, gzip.BestCompression) // with no name and no time in its header
	if err != nil {
		return nil, nil, err
	}
	if _, err = gw.Write(content); err == nil {
		err = gw.Close()
	}
	return b.Bytes(), g.Bytes(), err
}
