//go:build !js && !race

package signer

import (
	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

func init() {
	dcrdSign = func(d *secp256k1.ModNScalar, digest [32]byte) []byte {
		signature := ecdsa.Sign(secp256k1.NewPrivateKey(d), digest[:])
		r, s := signature.R(), signature.S()
		rs := make([]byte, 64)
		r.PutBytesUnchecked(rs[:32])
		s.PutBytesUnchecked(rs[32:])
		return rs
	}
}
