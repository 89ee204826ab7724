//go:build !js

package signer

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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

// shortSignatures are numbers that secretHex, by RFC 6979, signs with a leading
// zero byte in r, and then in s: one in 128 each, found by search.
var shortSignatures = map[Curve][]int{
	P256:      {137, 166, 234, 342, 433, 517, 768, 876, 340, 427, 664, 1232, 1423, 1433, 1519, 1582},
	Secp256k1: {221, 551, 686, 844, 1241, 1356, 1400, 1412, 207, 393, 471, 757, 770, 838, 845, 948},
}

// On each curve OpenSSL takes what we sign, we take what OpenSSL signs, and
// neither takes a signature of another message.
//
// OpenSSL wants a process for each signature, which is most of this package's
// time. So most messages are of those whose signature is easily encoded wrong;
// sign.json and verify.json pin every form there is.
func TestOpenSSL(t *testing.T) {
	t.Parallel()
	for curve := range opensslCurves {
		t.Run(string(curve), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			key := parseKey(t, curve, secretHex)
			private, public := pemKeys(t, dir, curve, secretHex)
			message, signature := filepath.Join(dir, "message"), filepath.Join(dir, "signature")
			write := func(file string, b []byte) {
				if err := os.WriteFile(file, b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			messages := [][]byte{nil}
			for _, n := range shortSignatures[curve] {
				messages = append(messages, []byte(strconv.Itoa(n)))
			}
			for random := rand.New(rand.NewPCG(1, 2)); len(messages) < 25; {
				m := make([]byte, random.IntN(500))
				for j := range m {
					m[j] = byte(random.Uint32())
				}
				messages = append(messages, m)
			}
			short := 0
			for i, m := range messages {
				der, err := key.signDER(t.Context(), m)
				if err != nil {
					t.Fatal(err)
				}
				if rs, err := decodeDER(curve, der); err == nil && (rs[0] == 0 || rs[32] == 0) {
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
			if want := len(shortSignatures[curve]); short < want {
				t.Errorf("%d signatures had a short r or s, want %d at least", short, want)
			}
		})
	}
}
