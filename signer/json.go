package signer

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// This file reads JSON (RFC 8259) more strictly than encoding/json, for the
// one question that matters before signing: could two readers of these bytes
// disagree? So it refuses what readers are known to disagree about: duplicate
// names, a byte order mark, invalid UTF-8, escapes of lone surrogates, data
// after the value, and deep nesting. It also keeps encoding/json, and the
// reflection behind it, out of the WebAssembly module.

// maxDepth bounds nesting; Grid's deepest payload has five levels.
const maxDepth = 16

// maxValues bounds the values in a text, those inside of others included:
// parsed, a value of three bytes takes hundreds. Grid's largest payload has some
// dozens.
const maxValues = 4096

// maxListed is the same for an answer, which may be a list of whatever length.
const maxListed = 1 << 16

const jsonBlanks = " \t\n\r" // RFC 8259 section 2

type jsonKind uint8

const (
	jsonNull jsonKind = iota
	jsonBool
	jsonNumber
	jsonString
	jsonArray
	jsonObject
)

// jsonValue is a parsed value. A number keeps its literal, never a float.
type jsonValue struct {
	kind    jsonKind
	scalar  string       // decoded string, number literal, or "true"/"false"
	items   []jsonValue  // of an array
	members []jsonMember // of an object, in their order
}

type jsonMember struct {
	name  string
	value jsonValue
}

// member returns the value under name, or nil.
func (v *jsonValue) member(name string) *jsonValue {
	for i := range v.members {
		if v.members[i].name == name {
			return &v.members[i].value
		}
	}
	return nil
}

// text returns the string under name; ok is false for anything else.
func (v *jsonValue) text(name string) (s string, ok bool) {
	m := v.member(name)
	if m == nil || m.kind != jsonString {
		return "", false
	}
	return m.scalar, true
}

// hasOnly reports whether every member's name is one of names.
func (v *jsonValue) hasOnly(names ...string) bool {
next:
	for i := range v.members {
		for _, n := range names {
			if v.members[i].name == n {
				continue next
			}
		}
		return false
	}
	return true
}

// equal reports whether the two say the same, the members of an object in any
// order. Numbers are compared as they are written.
func (v *jsonValue) equal(w *jsonValue) bool {
	if v.kind != w.kind || v.scalar != w.scalar || len(v.items) != len(w.items) || len(v.members) != len(w.members) {
		return false
	}
	for i := range v.items {
		if !v.items[i].equal(&w.items[i]) {
			return false
		}
	}
	for i := range v.members {
		other := w.member(v.members[i].name)
		if other == nil || !v.members[i].value.equal(other) {
			return false
		}
	}
	return true
}

// parseJSON reads exactly one value, with blanks allowed around it. Its errors
// say what rule was broken and where, never what was read.
func parseJSON(s string) (jsonValue, error) { return parseUpTo(s, maxValues) }

// parseUpTo is parseJSON for a text of so many values.
func parseUpTo(s string, values int) (jsonValue, error) {
	if !utf8.ValidString(s) {
		return jsonValue{}, fail(ErrPayloadMalformed, "JSON is not valid UTF-8")
	}
	p := jsonParser{s: s, most: values}
	p.blanks()
	v, msg := p.value(1)
	if msg == "" {
		if p.blanks(); p.i != len(s) {
			msg = "data after the JSON value"
		}
	}
	if msg != "" {
		return jsonValue{}, fail(ErrPayloadMalformed, msg)
	}
	return v, nil
}

// jsonParser's methods return what went wrong as a text, "" for success.
type jsonParser struct {
	s      string
	i      int
	values int // read so far, and at most
	most   int
}

func (p *jsonParser) blanks() {
	for p.i < len(p.s) && strings.IndexByte(jsonBlanks, p.s[p.i]) >= 0 {
		p.i++
	}
}

// take consumes lit if it comes next.
func (p *jsonParser) take(lit string) bool {
	if strings.HasPrefix(p.s[p.i:], lit) {
		p.i += len(lit)
		return true
	}
	return false
}

func (p *jsonParser) value(depth int) (jsonValue, string) {
	if depth > maxDepth {
		return jsonValue{}, "JSON is nested deeper than 16"
	}
	if p.values++; p.values > p.most {
		return jsonValue{}, "JSON of too many values"
	}
	switch {
	case p.take("{"):
		return p.object(depth)
	case p.take("["):
		return p.array(depth)
	case p.take(`"`):
		s, msg := p.str()
		return jsonValue{kind: jsonString, scalar: s}, msg
	case p.take("true"):
		return jsonValue{kind: jsonBool, scalar: "true"}, ""
	case p.take("false"):
		return jsonValue{kind: jsonBool, scalar: "false"}, ""
	case p.take("null"):
		return jsonValue{kind: jsonNull}, ""
	}
	return p.number()
}

func (p *jsonParser) object(depth int) (jsonValue, string) {
	v := jsonValue{kind: jsonObject}
	// A map beside the slice keeps a hostile object of many names linear.
	seen := map[string]bool{}
	p.blanks()
	if p.take("}") {
		return v, ""
	}
	for {
		p.blanks()
		if !p.take(`"`) {
			return v, "JSON object without a name where one must be"
		}
		name, msg := p.str()
		if msg != "" {
			return v, msg
		}
		if seen[name] {
			return v, "JSON object with a duplicate name"
		}
		seen[name] = true
		if p.blanks(); !p.take(":") {
			return v, "JSON name without a colon"
		}
		p.blanks()
		val, msg := p.value(depth + 1)
		if msg != "" {
			return v, msg
		}
		v.members = append(v.members, jsonMember{name, val})
		p.blanks()
		switch {
		case p.take("}"):
			return v, ""
		case !p.take(","):
			return v, "JSON object that does not go on or end"
		}
	}
}

func (p *jsonParser) array(depth int) (jsonValue, string) {
	v := jsonValue{kind: jsonArray}
	p.blanks()
	if p.take("]") {
		return v, ""
	}
	for {
		p.blanks()
		val, msg := p.value(depth + 1)
		if msg != "" {
			return v, msg
		}
		v.items = append(v.items, val)
		p.blanks()
		switch {
		case p.take("]"):
			return v, ""
		case !p.take(","):
			return v, "JSON array that does not go on or end"
		}
	}
}

// str reads the rest of a string, after its opening quote.
func (p *jsonParser) str() (string, string) {
	start := p.i
	var b strings.Builder // used from the first escape on
	for p.i < len(p.s) {
		switch c := p.s[p.i]; {
		case c == '"':
			s := p.s[start:p.i]
			p.i++
			if b.Len() == 0 {
				return s, ""
			}
			b.WriteString(s)
			return b.String(), ""
		case c < 0x20:
			return "", "JSON string with a bare control character"
		case c == '\\':
			b.WriteString(p.s[start:p.i])
			r, msg := p.escape()
			if msg != "" {
				return "", msg
			}
			b.WriteRune(r)
			start = p.i
		default:
			p.i++
		}
	}
	return "", "JSON string without an end"
}

func (p *jsonParser) escape() (rune, string) {
	p.i++ // the backslash
	if p.i >= len(p.s) {
		return 0, "JSON string without an end"
	}
	c := p.s[p.i]
	p.i++
	switch c {
	case '"', '\\', '/':
		return rune(c), ""
	case 'b':
		return '\b', ""
	case 'f':
		return '\f', ""
	case 'n':
		return '\n', ""
	case 'r':
		return '\r', ""
	case 't':
		return '\t', ""
	case 'u':
		r, ok := p.hex4()
		if !ok {
			return 0, "JSON escape that is not four hex digits"
		}
		if !utf16.IsSurrogate(r) {
			return r, ""
		}
		// A lone half would become U+FFFD: what is checked would not be what
		// another reader sees.
		if p.take(`\u`) {
			if low, ok := p.hex4(); ok {
				if full := utf16.DecodeRune(r, low); full != utf8.RuneError {
					return full, ""
				}
			}
		}
		return 0, "JSON escape of a lone surrogate"
	}
	return 0, "JSON escape that does not exist"
}

func (p *jsonParser) hex4() (rune, bool) {
	if len(p.s)-p.i < 4 {
		return 0, false
	}
	var r rune
	for _, c := range []byte(p.s[p.i : p.i+4]) {
		if !isHex(c) {
			return 0, false
		}
		r = r<<4 | rune(unhex(c))
	}
	p.i += 4
	return r, true
}

// number reads RFC 8259 section 6: -? int frac? exp?
func (p *jsonParser) number() (jsonValue, string) {
	start := p.i
	p.take("-")
	ok := p.take("0") || p.digits()
	if ok && p.take(".") {
		ok = p.digits()
	}
	if ok && (p.take("e") || p.take("E")) {
		_ = p.take("+") || p.take("-")
		ok = p.digits()
	}
	if !ok {
		return jsonValue{}, "not a JSON value"
	}
	return jsonValue{kind: jsonNumber, scalar: p.s[start:p.i]}, ""
}

func (p *jsonParser) digits() bool {
	start := p.i
	for p.i < len(p.s) && '0' <= p.s[p.i] && p.s[p.i] <= '9' {
		p.i++
	}
	return p.i > start
}
