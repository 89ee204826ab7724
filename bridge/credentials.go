package bridge

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

// Secret holds a text that must not be shown. However it is formatted, logged
// or marshalled it reads "REDACTED". The text is behind a pointer because fmt
// and others print the unexported fields of a struct by reflection, without
// asking their methods: they then find an address.
type Secret struct{ text *string }

// NewSecret wraps text.
func NewSecret(text string) Secret { return Secret{&text} }

// reveal returns the text, "" for the zero Secret.
func (s Secret) reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

const redacted = "REDACTED"

// String returns "REDACTED".
func (Secret) String() string { return redacted }

// Format writes "REDACTED" for every verb, %#v and %d among them.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// MarshalText returns "REDACTED", also for JSON.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue returns "REDACTED".
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// basic returns the Authorization header for a client id and its secret
// (RFC 7617).
func basic(id string, secret Secret) Secret {
	return NewSecret("Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret.reveal())))
}

// checkCredentials refuses what Basic authentication cannot carry: an empty
// part, a colon in the id, control characters in either.
func checkCredentials(id string, secret Secret) error {
	control := func(r rune) bool { return r < 0x20 || r == 0x7f }
	var errs []error
	if id == "" || strings.Contains(id, ":") || strings.ContainsFunc(id, control) {
		errs = append(errs, ownError("bridge: the client id is empty, or holds a colon or a control character"))
	}
	if secret.reveal() == "" || strings.ContainsFunc(secret.reveal(), control) {
		errs = append(errs, ownError("bridge: the client secret is empty, or holds a control character"))
	}
	return errors.Join(errs...)
}

// credentialsAge is how old credentials from a changing source may be.
const credentialsAge = 10 * time.Second

// credentials are the API credentials of the moment, as a header.
type credentials struct {
	source func() (string, Secret, error) // nil if they never change
	now    func() time.Time
	log    *slog.Logger

	mu    sync.Mutex
	read  time.Time
	value Secret
}

func (c *Config) credentials() *credentials {
	return &credentials{
		source: c.Credentials, now: c.Now, log: c.Log, read: c.Now(), value: basic(c.ClientID, c.ClientSecret),
	}
}

// header returns the Authorization header of the moment.
func (c *credentials) header() Secret {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.source == nil || c.now().Sub(c.read) < credentialsAge {
		return c.value
	}
	c.read = c.now()
	id, secret, err := c.source()
	if err == nil {
		err = checkCredentials(id, secret)
	}
	if err != nil {
		c.log.Warn("credentials not read: the last ones stay", slog.String("reason", reason(err)))
		return c.value
	}
	c.value = basic(id, secret)
	return c.value
}

// CredentialsFromEnv reads the API credentials from GRID_CLIENT_ID and
// GRID_CLIENT_SECRET, or from the files that GRID_CLIENT_ID_FILE and
// GRID_CLIENT_SECRET_FILE name. Of each pair exactly one must be set: with two
// it would be a guess which one the operator believes to be in force. One line
// end at the end of a file is not part of the secret.
func CredentialsFromEnv(getenv func(string) string) (id string, secret Secret, err error) {
	id, errID := envOrFile(getenv, "GRID_CLIENT_ID")
	text, errSecret := envOrFile(getenv, "GRID_CLIENT_SECRET")
	return id, NewSecret(text), errors.Join(errID, errSecret)
}

func envOrFile(getenv func(string) string, name string) (string, error) {
	value, file := getenv(name), getenv(name+"_FILE")
	switch {
	case value == "" && file == "":
		return "", ownError(fmt.Sprintf("bridge: set %s or %s_FILE", name, name))
	case value != "" && file != "":
		return "", ownError(fmt.Sprintf("bridge: set only one of %s and %s_FILE", name, name))
	case value != "":
		return value, nil
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return "", ownError(fmt.Sprintf("bridge: %s_FILE: %s", name, err)) // names the file and quotes none of it
	}
	value = strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	if value == "" {
		return "", ownError(fmt.Sprintf("bridge: the file of %s_FILE is empty", name))
	}
	return value, nil
}

// Derive returns a key of 32 bytes for purpose: HMAC-SHA256 under s. It tells nothing of
// s, nor of the keys for other purposes.
func (s Secret) Derive(purpose string) []byte {
	mac := hmac.New(sha256.New, []byte(s.reveal()))
	mac.Write([]byte(purpose))
	return mac.Sum(nil)
}
