package signer

import (
	"strings"
	"testing"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
)

// corners are where reductions and borrows go wrong, as keys and as digests.
var corners = func() (corners [][32]byte) {
	n := [32]byte([]byte(orderSecp256k1))
	half := n // rounded down
	for i := range half {
		half[i] >>= 1
		if i > 0 && n[i-1]&1 != 0 {
			half[i] |= 0x80
		}
	}
	for _, v := range [][32]byte{{}, n, half} {
		before, after := v, v
		for i := 31; ; i-- {
			if before[i]--; before[i] != 0xff || i == 0 {
				break
			}
		}
		for i := 31; ; i-- {
			if after[i]++; after[i] != 0 {
				break
			}
		}
		corners = append(corners, before, v, after)
	}
	return corners
}()

func TestInvert(t *testing.T) {
	one := *new(secp256k1.ModNScalar).SetInt(1)
	for _, v := range corners {
		var k, inverse secp256k1.ModNScalar
		k.SetBytes(&v)
		inverse.Set(&k)
		invert(&inverse)
		if product := *inverse.Mul(&k); k.IsZero() && !product.IsZero() || !k.IsZero() && product != one {
			t.Errorf("%x times its inverse is %x", v, product.Bytes())
		}
	}
}

func TestGenerateSecp256k1(t *testing.T) {
	// A reader that ends early must not make a weak key.
	if _, err := GenerateSecp256k1(strings.NewReader("short")); err == nil {
		t.Error("took 5 bytes of randomness")
	}
	// Nor is what is out of range made into a key.
	random := strings.Repeat("\xff", 32) + strings.Repeat("\x00", 32) + orderSecp256k1 + someRandom
	key, err := GenerateSecp256k1(strings.NewReader(random))
	if err != nil {
		t.Fatal(err)
	}
	_ = key.Seal(func(scalar []byte) error {
		if string(scalar) != someRandom {
			t.Errorf("key = %x", scalar)
		}
		return nil
	})
}

const someRandom = "thirty-two bytes, as random ones"
