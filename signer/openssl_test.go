//go:build !js

package signer

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var opensslCurves = map[Curve]struct{ oid, order string }{
	P256:      {"06082a8648ce3d030107", orderP256},
	Secp256k1: {"06052b8104000a", orderSecp256k1},
}

func openssl(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.Command("openssl", args...).CombinedOutput()
	if err != nil && strings.Contains(err.Error(), "executable file not found") {
		t.Fatal("this test needs the openssl program: install the package openssl")
	}
	return string(out), err
}

// pemKeys writes a scalar as OpenSSL's private and public key files.
func pemKeys(t *testing.T, dir string, curve Curve, scalar string) (private, public string) {
	t.Helper()
	oid := opensslCurves[curve].oid
	// SEC 1 ECPrivateKey { 1, scalar, [0] curve }; OpenSSL adds the public key.
	body := "020101" + "0420" + scalar + fmt.Sprintf("a0%02x", len(oid)/2) + oid
	der := unhexText(t, fmt.Sprintf("30%02x", len(body)/2)+body)
	private, public = filepath.Join(dir, "private.pem"), filepath.Join(dir, "public.pem")
	if err := os.WriteFile(filepath.Join(dir, "private.der"), der, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"ec", "-inform", "DER", "-in", filepath.Join(dir, "private.der"), "-out", private},
		{"ec", "-in", private, "-pubout", "-out", public},
	} {
		if out, err := openssl(t, args...); err != nil {
			t.Fatalf("openssl %v: %v\n%s", args, err, out)
		}
	}
	return private, public
}

// Hundreds of random messages on each curve: OpenSSL takes what we sign, we take
// what OpenSSL signs, and neither takes a signature of another message.
func TestOpenSSL(t *testing.T) {
	const rounds = 150
	random := rand.New(rand.NewPCG(1, 2))
	for curve := range opensslCurves {
		t.Run(string(curve), func(t *testing.T) {
			dir := t.TempDir()
			key := parseKey(t, curve, secretHex)
			private, public := pemKeys(t, dir, curve, secretHex)
			message, signature := filepath.Join(dir, "message"), filepath.Join(dir, "signature")
			write := func(file string, b []byte) {
				if err := os.WriteFile(file, b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			short := 0 // signatures with a leading zero in r or s
			for i := range rounds {
				m := make([]byte, random.IntN(500))
				for j := range m {
					m[j] = byte(random.Uint32())
				}
				// Search on for messages that make r or s short: one in 128 does.
				der, err := key.signDER(t.Context(), m)
				for i%10 == 0 && err == nil && len(der) > 69 {
					m = append(m, 'x')
					der, err = key.signDER(t.Context(), m)
				}
				if err != nil {
					t.Fatal(err)
				}
				if len(der) <= 69 {
					short++
				}
				write(message, m)
				write(signature, der)
				if out, err := openssl(t, "dgst", "-sha256", "-verify", public, "-signature", signature, message); err != nil {
					t.Fatalf("OpenSSL refuses our signature %x of %x: %s", der, m, out)
				}
				if i == 0 {
					write(message, append(m, 0))
					if _, err := openssl(t, "dgst", "-sha256", "-verify", public, "-signature", signature, message); err == nil {
						t.Fatal("OpenSSL takes our signature for another message: the test proves nothing")
					}
					write(message, m)
				}
				if out, err := openssl(t, "dgst", "-sha256", "-sign", private, "-out", signature, message); err != nil {
					t.Fatalf("openssl: %s", out)
				}
				theirs, err := os.ReadFile(signature)
				if err != nil {
					t.Fatal(err)
				}
				if !key.Public().Verify(m, theirs) {
					t.Errorf("OpenSSL's signature %s of %x does not verify", hex.EncodeToString(theirs), m)
				}
				if key.Public().Verify(append(m, 0), theirs) {
					t.Errorf("OpenSSL's signature of %x verifies over another message", m)
				}
			}
			if short < rounds/10 {
				t.Errorf("%d signatures had a short r or s, want %d at least", short, rounds/10)
			}
		})
	}
}
