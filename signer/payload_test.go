package signer

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Every byte is in the alphabets that it belongs to, and in no other.
func TestAlphabets(t *testing.T) {
	for name, test := range map[string]struct {
		got  func(s string) bool
		want string
	}{
		"hex":           {func(s string) bool { return isHex(s[0]) }, `[0-9A-Fa-f]`},
		"JWT part":      {isJWTPart, `[0-9A-Za-z_-]`},
		"activity type": {func(s string) bool { return isActivityType("ACTIVITY_TYPE_" + s) }, `[0-9A-Z_]`},
		"decimal":       {isDecimal, `[0-9]`},
		"error code": {func(s string) bool {
			return errorCode(Response{Status: 400, Body: []byte(`{"status":400,"code":` + strconv.Quote(s) + `}`)}) == s
		}, `[0-9A-Z_]`},
		"visible text": {func(s string) bool { _, err := ParsePayload(s); return err == nil }, `[!-z|}~]`},               // of '{' alone, no activity
		"JSON blank":   {func(s string) bool { _, err := parseJSON("[1" + s + "]"); return err == nil }, `[ \t\r\n0-9]`}, // or one more digit
	} {
		t.Run(name, func(t *testing.T) {
			want := regexp.MustCompile(`^` + test.want + `$`)
			for c := range byte(0x80) {
				if s := string(rune(c)); test.got(s) != want.MatchString(s) {
					t.Errorf("%q: %v, want %v", s, test.got(s), want.MatchString(s))
				}
			}
		})
	}
}

// A text that is no UTF-8 would be signed as other bytes than were shown.
func TestInvalidUTF8(t *testing.T) {
	for _, s := range []string{"\xff", "x\xc0\x80", strings.Replace(revokePayload, "org_sim", "org\xff", 1)} {
		_, err := ParsePayload(s)
		wantKind(t, err, ErrPayloadMalformed)
		_, err = NewChallenge(s, requestID, "2026-08-22T12:05:00Z", "")
		wantKind(t, err, ErrChallengeMalformed)
		_, err = NewChallenge("x", requestID, "2026-08-22T12:05:00Z", s[:min(64, len(s))])
		wantKind(t, err, ErrChallengeMalformed)
	}
}

// Each limit is the last that passes.
func TestLimits(t *testing.T) {
	spaces := func(n int) string { return strings.Repeat(" ", n) }
	parses := func(s string) bool { _, err := ParsePayload(s); return err == nil }
	for name, test := range map[string]struct {
		passes func(n int) bool
		limit  int
	}{
		"payload":       {func(n int) bool { return parses("x" + spaces(n-1)) }, 256 << 10},
		"activity type": {func(n int) bool { return isActivityType("ACTIVITY_TYPE_" + strings.Repeat("A", n-14)) }, 128},
		"decimal":       {func(n int) bool { return isDecimal(strings.Repeat("9", n)) }, 19},
		"error code": {func(n int) bool {
			return errorCode(envelope(400, strings.Repeat("A", n))) != ""
		}, 64},
		"error envelope": {func(n int) bool {
			body := envelope(400, "X").Body
			return errorCode(Response{Status: 400, Body: append(body, spaces(n-len(body))...)}) == "X"
		}, 64 << 10},
		"challenge's payload": {func(n int) bool {
			_, err := NewChallenge(spaces(n), requestID, "2026-08-22T12:05:00Z", "")
			return err == nil
		}, 256 << 10},
		"challenge's type": {func(n int) bool {
			_, err := NewChallenge("x", requestID, "2026-08-22T12:05:00Z", spaces(n))
			return err == nil
		}, 64},
		"nesting": {func(n int) bool {
			_, err := parseJSON(strings.Repeat("[", n) + strings.Repeat("]", n))
			return err == nil
		}, 16},
	} {
		t.Run(name, func(t *testing.T) {
			if !test.passes(test.limit) {
				t.Errorf("%d does not pass", test.limit)
			}
			if test.passes(test.limit + 1) {
				t.Errorf("%d passes", test.limit+1)
			}
		})
	}
}
