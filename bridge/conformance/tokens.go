package conformance

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
)

// bearer finds the user's token in the headers if it is a signed JWT and all that
// says who they are: beside a cookie nobody could tell which of the two was
// believed. The other headers may be what a staging system wants.
func (t *target) bearer() (token string, others []string, ok bool) {
	for _, line := range t.headers {
		name, value, _ := strings.Cut(line, ": ")
		scheme, credential, _ := strings.Cut(value, " ")
		switch {
		case strings.EqualFold(name, "Cookie"):
			return "", nil, false
		case !strings.EqualFold(name, "Authorization"):
			others = append(others, line)
		case token != "" || !strings.EqualFold(scheme, "Bearer"):
			return "", nil, false
		default:
			token = credential
		}
	}
	part := strings.Split(token, ".")
	return token, others, len(part) == 3 && members(part[0]) != nil && members(part[1]) != nil
}

// spoiltTokens lists what is made of the user's token and of nothing else: only
// a bridge that verifies all of it, each time, refuses them all.
//
// The good token goes to the bridge in a query and a cookie, too, and may then be
// in an access log.
func (t *target) spoiltTokens() (list []probe) {
	token, others, ok := t.bearer()
	if !ok {
		return nil
	}
	add := func(name string, inFront bool, lines ...string) {
		list = append(list, probe{group: "tokens", name: name, request: t.list(append(lines, others...)...), want: refused(400, 401, 403), elsewhere: inFront})
	}
	part := strings.Split(token, ".")
	header, payload, signature := part[0], part[1], part[2]
	hmacHeader := remade(header, "alg", "HS256")
	mac := hmac.New(sha256.New, nil)
	mac.Write([]byte(hmacHeader + "." + payload))
	for name, spoilt := range map[string]string{
		"alg none":                      remade(header, "alg", "none") + "." + payload + ".",
		"alg nOnE":                      remade(header, "alg", "nOnE") + "." + payload + ".",
		"alg none, signature kept":      remade(header, "alg", "none") + "." + payload + "." + signature,
		"alg HS256 with an empty key":   hmacHeader + "." + payload + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)),
		"typ changed":                   remade(header, "typ", marker) + "." + payload + "." + signature,
		"no signature":                  header + "." + payload + ".",
		"two parts":                     header + "." + payload,
		"four parts":                    token + "." + signature,
		"signature cut short":           header + "." + payload + "." + signature[:len(signature)*3/4/4*4],
		"signature with more behind it": header + "." + payload + "." + signature[:len(signature)/4*4] + "AAAAAAAA",
		"one bit of the signature":      header + "." + payload + "." + flipped(signature),
		"one bit of the payload":        header + "." + flipped(payload) + "." + signature,
		"SUB beside sub":                header + "." + remade(payload, "SUB", "admin") + "." + signature,
		"ISS beside iss":                header + "." + remade(payload, "ISS", evil) + "." + signature,
		"a later expiry":                header + "." + remade(payload, "exp", 1<<33) + "." + signature,
	} {
		add(name, false, "Authorization: Bearer "+spoilt)
	}
	good, bad := "Authorization: Bearer "+token, "Authorization: Bearer "+header+"."+flipped(payload)+"."+signature
	add("two, the good one first", true, good, bad)
	add("two, the good one last", true, bad, good)
	add("in a cookie", false, "Cookie: access_token="+token+"; token="+token)
	list = append(list, probe{group: "tokens", name: "in the query", want: refused(400, 401, 403),
		request: t.request("GET", "/auth/sessions?accountId="+t.Account+"&access_token="+token, "", others...)})
	return list
}

// members are those of the JSON object in a part of a token, nil if it is none.
func members(part string) (m map[string]any) {
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil || json.Unmarshal(text, &m) != nil {
		return nil
	}
	return m
}

// remade is a part of a token with one member set.
func remade(part, name string, value any) string {
	m := members(part)
	m[name] = value
	text, _ := json.Marshal(m) // was JSON
	return base64.RawURLEncoding.EncodeToString(text)
}

// flipped is a part of a token with one bit changed, in the middle of what it says.
func flipped(part string) string {
	text, _ := base64.RawURLEncoding.DecodeString(part) // as far as it can be read
	text = slices.Clone(text)
	if len(text) > 0 {
		text[len(text)/2] ^= 1
	}
	return base64.RawURLEncoding.EncodeToString(text)
}
