package signer

import (
	"regexp"
	"runtime"
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
		"base64":     {func(s string) bool { _, err := ParsePayload("xyw" + s); return err == nil }, `[0-9A-Za-z+/=]`},
		"no hex":     {func(s string) bool { _, err := ParsePayload("000" + s); return err == nil }, `[G-Zg-z+/=]`},
		"JSON blank": {func(s string) bool { _, err := parseJSON("[1" + s + "]"); return err == nil }, `[ \t\r\n0-9]`}, // or one more digit
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
	for name, test := range map[string]struct {
		passes func(n int) bool
		limit  int
	}{
		"payload": {func(n int) bool {
			_, err := ParsePayload(spaces(n-len(revokePayload)) + revokePayload)
			return err == nil
		}, 256 << 10},
		"activity type": {func(n int) bool { return isActivityType("ACTIVITY_TYPE_" + strings.Repeat("A", n-14)) }, 128},
		"decimal":       {func(n int) bool { return isDecimal(strings.Repeat("9", n)) }, 19},
		"error code": {func(n int) bool {
			return errorCode(envelope(400, strings.Repeat("A", n))) != ""
		}, 64},
		"challenge's payload": {func(n int) bool {
			_, err := NewChallenge(spaces(n), requestID, "2026-08-22T12:05:00Z", "")
			return err == nil
		}, 256 << 10},
		"challenge's type": {func(n int) bool {
			_, err := NewChallenge("x", requestID, "2026-08-22T12:05:00Z", spaces(n))
			return err == nil
		}, 64},
		"values": {func(n int) bool { // one of them is the array
			_, err := parseJSON("[" + strings.Repeat("{},", n-2) + "{}]")
			return err == nil
		}, 4096},
		"values, of members": {func(n int) bool {
			members := make([]string, n-1)
			for i := range members {
				members[i] = strconv.Quote(strconv.Itoa(i)) + ":null"
			}
			_, err := parseJSON("{" + strings.Join(members, ",") + "}")
			return err == nil
		}, 4096},
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

// Whatever a body of 1 MiB holds, to read it takes little more memory than it has
// itself: a WebAssembly instance never gives any back.
func TestMemoryOfParsing(t *testing.T) {
	for _, piece := range []string{"{}", "[]", "0", `""`, `"\n"`, `{"a":{}}`, "[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]"} {
		body := "[" + strings.Repeat(piece+",", (1<<20)/(len(piece)+1)) + piece + "]"
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := parseJSON(body)
		runtime.ReadMemStats(&after)
		wantKind(t, err, ErrPayloadMalformed)
		if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 {
			t.Errorf("1 MiB of %s takes %d KiB", piece, got>>10)
		}
	}
}

// The activity's own text, with more in it than any of Grid's.
func TestActivityOfManyValues(t *testing.T) {
	many := strings.Repeat(`"k",`, 4096) + `"k"`
	_, err := ParsePayload(strings.Replace(revokePayload, `"key_sim"`, many, 1))
	wantKind(t, err, ErrPayloadMalformed)
}
