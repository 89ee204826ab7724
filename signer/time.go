package signer

import "time"

// parseTime reads RFC 3339, as [time.Parse] does, which would add 10 kB to the
// compressed module and quotes what it could not read:
//
//	YYYY-MM-DDThh:mm:ss[.fraction](Z|±hh:mm)
func parseTime(s string) (t time.Time, ok bool) {
	p := timeParser{s: s, ok: true}
	year := p.number(4)
	p.literal('-')
	month := p.number(2)
	p.literal('-')
	day := p.number(2)
	p.literal('T')
	hour := p.number(2)
	p.literal(':')
	minute := p.number(2)
	p.literal(':')
	second := p.number(2)
	nanosecond := p.fraction()
	offset := p.offset()
	if !p.ok || p.s != "" || hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, false
	}
	t = time.Date(year, time.Month(month), day, hour, minute, second, nanosecond, time.UTC)
	// time.Date turns the 31st of June into the 1st of July: no such day.
	if t.Month() != time.Month(month) || t.Day() != day {
		return time.Time{}, false
	}
	return t.Add(-offset), true
}

// timeParser consumes s from the front; ok is lost at the first surprise.
type timeParser struct {
	s  string
	ok bool
}

func (p *timeParser) literal(c byte) {
	if p.ok = p.ok && p.s != "" && p.s[0] == c; p.ok {
		p.s = p.s[1:]
	}
}

// number reads exactly n digits.
func (p *timeParser) number(n int) int {
	if p.ok = p.ok && len(p.s) >= n && isDecimal(p.s[:n]); !p.ok {
		return 0
	}
	v := 0
	for _, c := range []byte(p.s[:n]) {
		v = v*10 + int(c-'0')
	}
	p.s = p.s[n:]
	return v
}

// fraction reads an optional fraction of a second; beyond nanoseconds, it is cut.
func (p *timeParser) fraction() int {
	if !p.ok || p.s == "" || p.s[0] != '.' {
		return 0
	}
	n := 1
	for n < len(p.s) && '0' <= p.s[n] && p.s[n] <= '9' {
		n++
	}
	digits := p.s[1:n]
	p.s = p.s[n:]
	p.ok = digits != ""
	v := 0
	for i := range 9 {
		v *= 10
		if i < len(digits) {
			v += int(digits[i] - '0')
		}
	}
	return v
}

func (p *timeParser) offset() time.Duration {
	if !p.ok || p.s == "" {
		p.ok = false
		return 0
	}
	sign := time.Duration(1)
	switch p.s[0] {
	case 'Z':
		p.s = p.s[1:]
		return 0
	case '-':
		sign = -1
	case '+':
	default:
		p.ok = false
		return 0
	}
	p.s = p.s[1:]
	hours := p.number(2)
	p.literal(':')
	minutes := p.number(2)
	if hours > 23 || minutes > 59 {
		p.ok = false
	}
	return sign * (time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute)
}
