package signer

import "bytes"

// rsSize is the length of r||s, each a 32-byte big-endian integer: the form
// that WebCrypto and most hardware give.
const rsSize = 64

// maxDER is the length of the longest DER signature over a 256-bit order.
const maxDER = 72

// encodeDER turns r||s into the DER form of RFC 3279 section 2.2.3:
//
//	30 len  02 len r  02 len s
//
// where r and s are the shortest big-endian integers whose top bit is clear: a
// leading zero byte is dropped, and one is put before a byte of 0x80 or more.
// Both are the classic bugs of this conversion.
//
// r and s must be in 1..n-1; otherwise the error is [ErrSignatureMalformed].
// An s in the upper half of the order is kept: half of WebCrypto's are.
func encodeDER(curve Curve, rs []byte) ([]byte, error) {
	if len(rs) != rsSize || !curve.inRange(rs[:32]) || !curve.inRange(rs[32:]) {
		return nil, fail(ErrSignatureMalformed, "r or s is outside 1..n-1")
	}
	der := make([]byte, 2, maxDER)
	for _, v := range [][]byte{rs[:32], rs[32:]} {
		v = bytes.TrimLeft(v, "\x00")
		if v[0] >= 0x80 {
			der = append(der, 0x02, byte(len(v)+1), 0x00)
		} else {
			der = append(der, 0x02, byte(len(v)))
		}
		der = append(der, v...)
	}
	der[0], der[1] = 0x30, byte(len(der)-2)
	return der, nil
}

// decodeDER is the inverse of [encodeDER], and accepts nothing that encodeDER
// would not write. The error is [ErrSignatureMalformed].
func decodeDER(curve Curve, der []byte) (rs [rsSize]byte, err error) {
	malformed := func(msg string) ([rsSize]byte, error) {
		return [rsSize]byte{}, fail(ErrSignatureMalformed, "DER: "+msg)
	}
	// The length byte of a signature of this size is in the short form, below
	// 0x80; a long form is never minimal here and fails the comparison.
	switch {
	case len(der) < 2 || len(der) > maxDER:
		return malformed("wrong length")
	case der[0] != 0x30:
		return malformed("not a SEQUENCE")
	case int(der[1]) != len(der)-2:
		return malformed("length of the SEQUENCE is not that of the data")
	}
	rest := der[2:]
	for i := range 2 {
		if len(rest) < 3 || rest[0] != 0x02 {
			return malformed("not an INTEGER")
		}
		size := int(rest[1])
		if size == 0 || size > len(rest)-2 {
			return malformed("length of an INTEGER is not that of the data")
		}
		v := rest[2 : 2+size]
		rest = rest[2+size:]
		if v[0] >= 0x80 {
			return malformed("negative INTEGER")
		}
		if len(v) > 1 && v[0] == 0 {
			if v[1] < 0x80 {
				return malformed("INTEGER with a padding byte")
			}
			v = v[1:]
		}
		if len(v) > 32 {
			return malformed("INTEGER is too large")
		}
		copy(rs[(i+1)*32-len(v):], v)
		if !curve.inRange(rs[i*32 : (i+1)*32]) {
			return malformed("r or s is outside 1..n-1")
		}
	}
	if len(rest) != 0 {
		return malformed("data after the signature")
	}
	return rs, nil
}
