package gridsim

import "math/big"

// derSignature is an ECDSA signature that is encoded as DER demands. The range
// of r and s is for the curve to judge.
type derSignature struct {
	r, s *big.Int
	raw  []byte
}

// parseDER reads an ECDSA signature in the one encoding that DER has for it:
//
//	0x30 <length of the rest> 0x02 <length of r> <r> 0x02 <length of s> <s>
//
// Lengths are one byte below 0x80: for the two curves here the rest takes 70
// bytes at most. The integers are big-endian, positive, and as short as they can
// be: a leading zero only before a byte with its high bit set. Nothing follows.
// With any of this left open one signature would have many spellings, and a
// client that gets one of them wrong would go unnoticed.
func parseDER(b []byte) (derSignature, error) {
	if len(b) < 2 || b[0] != 0x30 || b[1] >= 0x80 || int(b[1]) != len(b)-2 {
		return derSignature{}, derMalformed
	}
	r, rest, ok := cutInteger(b[2:])
	if !ok {
		return derSignature{}, derMalformed
	}
	s, rest, ok := cutInteger(rest)
	if !ok || len(rest) != 0 {
		return derSignature{}, derMalformed
	}
	return derSignature{r, s, b}, nil
}

// cutInteger takes one DER INTEGER off the front of b, which is shorter than
// 0x80: a longer length does not fit.
func cutInteger(b []byte) (value *big.Int, rest []byte, ok bool) {
	if len(b) < 2 || b[0] != 0x02 || b[1] == 0 || int(b[1]) > len(b)-2 {
		return nil, nil, false
	}
	digits, rest := b[2:2+b[1]], b[2+b[1]:]
	if digits[0] >= 0x80 { // negative
		return nil, nil, false
	}
	if digits[0] == 0 && len(digits) > 1 && digits[1] < 0x80 { // padded
		return nil, nil, false
	}
	return new(big.Int).SetBytes(digits), rest, true
}

// inRange tells whether r and s are in [1, order-1]. There is no rule about
// high or low s: half of what WebCrypto produces is high.
func (sig derSignature) inRange(order *big.Int) bool {
	return sig.r.Sign() > 0 && sig.r.Cmp(order) < 0 && sig.s.Sign() > 0 && sig.s.Cmp(order) < 0
}
