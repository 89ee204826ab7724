package gridsim

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
)

// Readers for the encodings on the wire, each stricter than the standard
// library's, which forgives what two parsers could read in two ways.

// parseObject reads data as exactly one JSON object in valid UTF-8. It fails
// with notObject, or with duplicate if a field occurs twice: encoding/json would
// take the last one, another parser the first.
func parseObject(data []byte, notObject, duplicate reason) (map[string]json.RawMessage, error) {
	if !utf8.Valid(data) || !json.Valid(data) || !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) {
		return nil, notObject
	}
	fields := make(map[string]json.RawMessage)
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.Token() // the brace; data is valid, so nothing from here on can fail
	for decoder.More() {
		token, _ := decoder.Token()
		name := token.(string)
		if _, seen := fields[name]; seen {
			return nil, duplicate
		}
		var value json.RawMessage
		decoder.Decode(&value)
		fields[name] = value
	}
	return fields, nil
}

// stringField returns a field that is a JSON string. A missing field, null and
// every other type are not ok.
func stringField(fields map[string]json.RawMessage, name string) (value string, ok bool) {
	raw := fields[name]
	if !bytes.HasPrefix(raw, []byte(`"`)) {
		return "", false
	}
	return value, json.Unmarshal(raw, &value) == nil
}

// hasStrings tells whether all of these fields are JSON strings.
func hasStrings(fields map[string]json.RawMessage, names ...string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { _, ok := stringField(fields, name); return !ok })
}

var errLineBreak = errors.New("line break in base64")

// decodeBase64 decodes text without the two liberties of encoding/base64: it
// skips CR and LF, and it ignores set bits after the last byte.
func decodeBase64(encoding *base64.Encoding, text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, errLineBreak
	}
	return encoding.Strict().DecodeString(text)
}

// decodeLowerHex decodes hex that has no upper-case digits.
func decodeLowerHex(text string) (decoded []byte, ok bool) {
	decoded, err := hex.DecodeString(text)
	return decoded, err == nil && text == strings.ToLower(text)
}
