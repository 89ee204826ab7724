package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"path"
	"strings"
)

// foreignImport tells the bundlers of apps that an import is of a URL that is known when it runs, and not theirs to
// rewrite. Minifying drops such comments, so they go in afterwards.
const foreignImport = "import(/* webpackIgnore: true *//* @vite-ignore */"

// sourceMap is a source map, version 3 (ECMA-426), as esbuild writes it.
type sourceMap struct {
	Version        int      `json:"version"`
	Sources        []string `json:"sources"`
	SourcesContent []string `json:"sourcesContent"`
	Mappings       string   `json:"mappings"`
	Names          []string `json:"names"`
}

// markForeignImports puts foreignImport in the place of every import that is a call, and moves what comes after it on
// the line in the map. Sources that are not of the project are known by their name alone: where they were is nobody's business.
func markForeignImports(code, encoded []byte) (marked, moved []byte, err error) {
	var m sourceMap
	if err := json.Unmarshal(encoded, &m); err != nil {
		return nil, nil, err
	}
	for i, source := range m.Sources {
		if !strings.Contains(source, "../src/") && !strings.Contains(source, "../demo/") {
			m.Sources[i] = path.Base(source)
		}
	}
	const plain = "import("
	lines, mapped := bytes.SplitAfter(code, []byte("\n")), strings.Split(m.Mappings, ";")
	for n, line := range lines {
		for at := 0; ; {
			found := bytes.Index(line[at:], []byte(plain))
			if found < 0 {
				break
			}
			at += found + len(plain)
			if n >= len(mapped) || bytes.ContainsFunc(line[:at], func(r rune) bool { return r > 0xffff }) {
				return nil, nil, errors.New("an import( is where the source map cannot follow")
			}
			column := len([]rune(string(line[:at]))) // a map counts in UTF-16 units
			if mapped[n], err = shift(mapped[n], column, len(foreignImport)-len(plain)); err != nil {
				return nil, nil, err
			}
			line = append(append(bytes.Clone(line[:at-len(plain)]), foreignImport...), line[at:]...)
			at += len(foreignImport) - len(plain)
		}
		lines[n] = line
	}
	m.Mappings = strings.Join(mapped, ";")
	moved, err = json.Marshal(m)
	return bytes.Join(lines, nil), moved, err
}

const base64Digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// shift moves the segments of a line that begin at column or later. Each says its column as the distance to the one
// before, so only the first of them changes: its first number, in base64 digits of five bits, the lowest first and the
// sign the lowest of all.
func shift(line string, column, by int) (string, error) {
	segments := strings.Split(line, ",")
	at := 0
	for i, segment := range segments {
		distance, digits := 0, 0
		for more := true; more; digits++ {
			if digits == len(segment) {
				return "", errors.New("the source map has a segment without an end")
			}
			digit := strings.IndexByte(base64Digits, segment[digits])
			distance |= (digit & 31) << (5 * digits)
			more = digit&32 != 0
		}
		if distance&1 != 0 {
			return "", errors.New("the source map goes backwards")
		}
		if at += distance >> 1; at < column {
			continue
		}
		var first []byte
		for rest := distance + by<<1; ; {
			digit := rest & 31
			if rest >>= 5; rest > 0 {
				digit |= 32
			}
			if first = append(first, base64Digits[digit]); rest == 0 {
				break
			}
		}
		segments[i] = string(first) + segment[digits:]
		break
	}
	return strings.Join(segments, ","), nil
}
