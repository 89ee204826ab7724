package signer

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// DecodeHex takes what encoding/hex takes, and EncodeHex writes what it writes.
func FuzzHex(f *testing.F) {
	for _, s := range []string{"", "0", "00", "fF", "Ff09aA", "0g", "g0", "0x", " 00", "00 ", "0:", "0/", "0@", "0G", "0`", "0\x00", "é", "000", strings.Repeat("c3", 99)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b, ok := DecodeHex(s)
		want, err := hex.DecodeString(s)
		if ok != (err == nil) || ok && !bytes.Equal(b, want) || !ok && b != nil {
			t.Errorf("%q decodes as %x, %v, want %x, %v", s, b, ok, want, err)
		}
		if got, want := EncodeHex([]byte(s)), hex.EncodeToString([]byte(s)); got != want {
			t.Errorf("%q encodes as %s, want %s", s, got, want)
		}
	})
}

// Each byte, and each pair of characters that is two digits or almost.
func TestHexIsEncodingHexs(t *testing.T) {
	for i := range 1 << 16 {
		s := string([]byte{byte(i >> 8), byte(i)})
		b, ok := DecodeHex(s)
		want, err := hex.DecodeString(s)
		if ok != (err == nil) || ok && !bytes.Equal(b, want) {
			t.Fatalf("%q decodes as %x, %v", s, b, ok)
		}
	}
	for i := range 256 {
		if got, want := EncodeHex([]byte{byte(i)}), hex.EncodeToString([]byte{byte(i)}); got != want {
			t.Fatalf("%d encodes as %s", i, got)
		}
	}
}

// Of ASCII, lower and equalFold say what package strings says. No other letter
// becomes one of ASCII, as the sign of the Kelvin there becomes a k.
func TestLower(t *testing.T) {
	for i := range 256 {
		s := string([]byte{'Q', byte(i), 'z'})
		want := "q" + s[1:]
		if i < 128 {
			want = strings.ToLower(s)
		}
		if got := lower(s); got != want {
			t.Errorf("lower(%q) = %q", s, got)
		}
	}
	if !equalFold("02aF", "02Af") || equalFold("02af", "02ae") || equalFold("k", "\u212a") {
		t.Error("equalFold is wrong about hex")
	}
}
