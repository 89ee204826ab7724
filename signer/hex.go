package signer

// encoding/hex imports fmt, and with it reflect and os, which the compressed module
// would carry for nothing. What goes through here is public (keys, signatures,
// ciphertexts, ids), so that a table is looked up by it gives nothing away.

// EncodeHex returns b in lower-case hex.
func EncodeHex(b []byte) string {
	const digits = "0123456789abcdef"
	s := make([]byte, 0, 2*len(b))
	for _, c := range b {
		s = append(s, digits[c>>4], digits[c&15])
	}
	return string(s)
}

// DecodeHex reads hex of either case, two digits a byte. ok is false for any other
// text, and b is nil then.
func DecodeHex(s string) (b []byte, ok bool) {
	b = make([]byte, len(s)/2)
	for i := range b {
		high, low := s[2*i], s[2*i+1]
		if !isHex(high) || !isHex(low) {
			return nil, false
		}
		b[i] = unhex(high)<<4 | unhex(low)
	}
	if len(s)%2 != 0 {
		return nil, false
	}
	return b, true
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// unhex returns the value of a hex digit.
func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return (c | 0x20) - 'a' + 10
}

// lower is [strings.ToLower] for ASCII, which is all that is compared so: the tables
// of Unicode's cases would add 4 kB.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	return string(b)
}

// equalFold compares ids and keys, whose hex may come in either case.
func equalFold(a, b string) bool { return lower(a) == lower(b) }
