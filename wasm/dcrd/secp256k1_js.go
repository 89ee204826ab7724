package secp256k1

// The Makefile puts this file into the copy of dcrd's secp256k1 that the module is
// built with, in place of what it leaves out there.

// curveParams and bigAffineToJacobian are those of ellipticadaptor.go, without
// math/big: the base point, SEC 2 section 2.4.1.
var curveParams = struct{ Gx, Gy string }{
	"79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
	"483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8",
}

func bigAffineToJacobian(x, y string, p *JacobianPoint) {
	p.X.Set(hexToFieldVal(x))
	p.Y.Set(hexToFieldVal(y))
	p.Z.SetInt(1)
}

// s256BytePoints is the table, which with the tag "tinygo" is never read.
func s256BytePoints() *[32][256]JacobianPoint { panic("left out") }

// hex stands for encoding/hex, which imports fmt. It reads constants alone.
var hex constants

type constants struct{}

func (constants) DecodeString(s string) ([]byte, error) {
	const digits = "0123456789abcdef"
	b := make([]byte, len(s)/2)
	for i := range s {
		for d := range digits {
			if s[i] == digits[d] {
				b[i/2] = b[i/2]<<4 | byte(d)
			}
		}
	}
	return b, nil
}
