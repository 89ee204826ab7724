//go:build !race

package signer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"testing"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
)

// With the race detector this would take eight minutes, and there is nothing to
// race: "make test-go" runs it without.

// dcrdSign is dcrd's ecdsa.Sign, on a host. The copy of dcrd that the module is
// built with is without it.
var dcrdSign func(d *secp256k1.ModNScalar, digest [32]byte) []byte

// dcrdSignatures is the SHA-256 of the SHA-256 of each thousand of the signatures
// that dcrd makes of the inputs below, for ten thousand and for all. On a host they are
// made again, each of ours is held against dcrd's, and so is this sum; in WebAssembly it
// is what the bytes of ours are held against.
var dcrdSignatures = map[int]string{
	10:  "935b6ac1399ddb9c116fa69ab4b3157b6908a99654afa46b72bbd2cd3f83458c",
	100: "2d7d9a5f4697c80ecb0bcf0ce7769052bb3808692a2df812255bc14f6a660e59",
}

// signSecp256k1 is composed of a library's parts, so it is held to the library's own
// signatures: of 100,000 inputs, byte for byte. In WebAssembly, where that takes minutes,
// of the first 10,000 of them, unless SOAK is set as it is for a release.
func TestSignsAsDcrdDoes(t *testing.T) {
	const each = 1000
	batches := 100
	if runtime.GOOS == "js" && os.Getenv("SOAK") == "" {
		batches = 10
	}
	sums := make([][32]byte, batches)
	batch := func(n int) {
		random := rand.NewChaCha8([32]byte{byte(n)})
		h := sha256.New()
		for i := range each {
			var scalar, digest [32]byte
			random.Read(scalar[:])
			random.Read(digest[:])
			if n == 0 && i < len(corners)*len(corners) {
				scalar, digest = corners[i/len(corners)], corners[i%len(corners)]
			}
			var d secp256k1.ModNScalar
			d.SetBytes(&scalar)
			if d.IsZero() {
				continue
			}
			rs := signSecp256k1(&d, digest)
			h.Write(rs)
			if dcrdSign != nil {
				if want := dcrdSign(&d, digest); !bytes.Equal(rs, want) {
					t.Errorf("key %x, digest %x: signature = %x, want %x", scalar, digest, rs, want)
					return
				}
			}
		}
		h.Sum(sums[n][:0])
	}
	var running sync.WaitGroup
	for n := range batches {
		running.Go(func() { batch(n) })
	}
	running.Wait()
	all := sha256.New()
	for n, sum := range sums {
		all.Write(sum[:])
		if want := dcrdSignatures[n+1]; want != "" && hex.EncodeToString(all.Sum(nil)) != want {
			t.Errorf("sum of %d thousand = %x, want %s", n+1, all.Sum(nil), want)
		}
	}
}
