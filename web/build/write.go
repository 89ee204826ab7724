package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"

	"github.com/andybalholm/brotli"
)

// buildInfo is build-info.json: what was built, from what. It holds nothing
// that depends on when or where.
type buildInfo struct {
	Go        string              `json:"go"`
	Secp256k1 string              `json:"secp256k1"`
	Files     map[string]fileInfo `json:"files"`
}

type fileInfo struct {
	SHA256 string `json:"sha256"`
	Size   int    `json:"size"`
	Brotli int    `json:"brotli"`
	Gzip   int    `json:"gzip"`
}

// writeAll writes the files and, beside each, its .br and .gz for servers that
// send those as they are. What an earlier build left of the demo goes first, so
// that a file dropped from the sources is dropped from the output.
func writeAll(out string, files map[string][]byte) (buildInfo, error) {
	info := buildInfo{Files: map[string]fileInfo{}}
	if err := os.RemoveAll(filepath.Join(out, "demo")); err != nil {
		return info, err
	}
	for name, content := range files {
		br, gz, err := compress(content)
		if err != nil {
			return info, fmt.Errorf("compressing %s: %w", name, err)
		}
		path := filepath.Join(out, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return info, err
		}
		for suffix, bytes := range map[string][]byte{"": content, ".br": br, ".gz": gz} {
			if err := os.WriteFile(path+suffix, bytes, 0o644); err != nil {
				return info, err
			}
		}
		info.Files[name] = fileInfo{fmt.Sprintf("%x", sha256.Sum256(content)), len(content), len(br), len(gz)}
	}
	return info, nil
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
