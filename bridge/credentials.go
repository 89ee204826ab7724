package bridge

import (
	"context"
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
	"unicode"

	"gridsigner/bridge/internal/outbound"
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

// credentialsError says what is wrong with the credentials, in words that may be
// logged: they name a variable or a file, and quote neither.
type credentialsError struct {
	reason Reason
	text   string
}

func (e *credentialsError) Error() string { return "bridge: " + e.text }

// checkCredentials refuses what Basic authentication cannot carry: an empty
// part, a colon in the id, control characters in either.
func checkCredentials(id string, secret Secret) error {
	control := func(r rune) bool { return r < 0x20 || r == 0x7f }
	var errs []error
	if id == "" || strings.Contains(id, ":") || strings.ContainsFunc(id, control) {
		errs = append(errs, &credentialsError{ReasonForm, "the client id is empty, or holds a colon or a control character"})
	}
	if secret.reveal() == "" || strings.ContainsFunc(secret.reveal(), control) {
		errs = append(errs, &credentialsError{ReasonForm, "the client secret is empty, or holds a control character"})
	}
	return errors.Join(errs...)
}

const (
	// credentialsAge is how old credentials from a changing source may be when a
	// request goes out. It gets them all the same: they are read in the background.
	credentialsAge = 10 * time.Second

	// renewalPause is the least time between two reads that Grid's refusals cause, so
	// that credentials which stay wrong are not read for each request.
	renewalPause = time.Second

	// renewalPatience is how long a read may take that somebody waits for.
	renewalPatience = 2 * time.Second
)

// credentials are the API credentials of the moment, as a header. Where they come
// from may hang, as a network file system does: that holds one goroutine, and no
// request.
type credentials struct {
	source  func() (string, Secret, error) // nil if they never change
	now     func() time.Time
	log     *slog.Logger
	observe func(Event)

	mu      sync.Mutex
	value   Secret
	begun   time.Time     // when the last read was
	reading chan struct{} // closed when the read under way ends, nil if there is none
	late    bool          // it has been said that it takes long
}

// credentials are those that c has read, and will read again. observe is told of each read.
func (c *Config) credentials(observe func(Event)) *credentials {
	return &credentials{
		source: c.Credentials, now: c.Now, log: c.Log, observe: observe, value: basic(c.ClientID, c.ClientSecret), begun: c.Now(),
	}
}

// header returns the Authorization header of the moment, at once.
func (c *credentials) header() Secret {
	c.mu.Lock()
	value, late := c.value, false
	if c.source != nil && c.now().Sub(c.begun) >= credentialsAge {
		late = c.reading != nil && !c.late
		c.late = c.late || late
		c.read()
	}
	c.mu.Unlock()
	if late {
		c.report(&credentialsError{ReasonTimeout, "whatever holds them does not answer"})
	}
	return value
}

// renew is for when Grid has refused the header refused. It has the credentials read
// soon, waits a little for that, and reports whether they are others now.
func (c *credentials) renew(ctx context.Context, refused Secret) (changed bool) {
	c.mu.Lock()
	differ := func() bool { return c.value.reveal() != refused.reveal() }
	if c.source == nil || differ() {
		defer c.mu.Unlock()
		return differ()
	}
	if c.now().Sub(c.begun) >= renewalPause {
		c.read()
	}
	reading, patience := c.reading, renewalPatience-c.now().Sub(c.begun)
	c.mu.Unlock()
	if reading != nil {
		ctx, cancel := context.WithTimeout(ctx, patience) // of which nothing may be left: the read hangs
		defer cancel()
		select {
		case <-reading:
		case <-ctx.Done():
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return differ()
}

// read starts a read, unless one is under way. The caller holds mu.
func (c *credentials) read() {
	if c.reading != nil {
		return
	}
	c.begun, c.reading, c.late = c.now(), make(chan struct{}), false
	go func() {
		var value Secret
		var err error = &credentialsError{reasonPanic, "what reads them panicked"} // unless it returns
		defer func() {
			recover() // the value may quote the secret
			c.mu.Lock()
			if err == nil {
				c.value = value
			}
			close(c.reading)
			c.reading = nil
			c.mu.Unlock()
			c.report(err)
		}()
		id, secret, errSource := c.source()
		if errSource == nil {
			errSource = checkCredentials(id, secret)
		}
		value, err = basic(id, secret), errSource
	}()
}

// report says what became of a read.
func (c *credentials) report(err error) {
	if err == nil {
		c.observe(Event{Kind: EventCredentials})
		return
	}
	reason, text := Reason(outbound.FailureOf(err)), ""
	if own, ok := errors.AsType[*credentialsError](err); ok {
		reason, text = own.reason, own.text // that of others may quote anything
	}
	c.observe(Event{EventCredentials, reason})
	c.log.Warn("credentials not read: the last ones stay", slog.String("reason", string(reason)), slog.String("detail", text))
}

// credentialsReadings is how often the files are read until two readings agree.
const credentialsReadings = 5

// CredentialsFromEnv reads the API credentials from GRID_CLIENT_ID and
// GRID_CLIENT_SECRET, or from the files that GRID_CLIENT_ID_FILE and
// GRID_CLIENT_SECRET_FILE name. Of each pair exactly one must be set: with two
// it would be a guess which one the operator believes to be in force. One line
// end at the end of a file is not part of the secret; other blanks around it are
// an error, since nobody sees them and Grid would only say that it is wrong.
//
// Id and secret are one thing: they are read until two readings in a row agree, so
// that files which are replaced together (the directory of a Kubernetes secret) are
// never read half. Of files that are replaced one after the other half may be read,
// and used until the next reading.
func CredentialsFromEnv(getenv func(string) string) (id string, secret Secret, err error) {
	var lastID, lastText string
	for i := range credentialsReadings {
		id, errID := envOrFile(getenv, "GRID_CLIENT_ID")
		text, errSecret := envOrFile(getenv, "GRID_CLIENT_SECRET")
		if err := errors.Join(errID, errSecret); err != nil {
			return "", Secret{}, err
		}
		if i > 0 && id == lastID && text == lastText {
			return id, NewSecret(text), nil
		}
		lastID, lastText = id, text
	}
	return "", Secret{}, &credentialsError{ReasonForm, "the files of the credentials change while they are read"}
}

func envOrFile(getenv func(string) string, name string) (string, error) {
	value, file := getenv(name), getenv(name+"_FILE")
	switch {
	case value == "" && file == "":
		return "", &credentialsError{ReasonForm, fmt.Sprintf("set %s or %s_FILE", name, name)}
	case value != "" && file != "":
		return "", &credentialsError{ReasonForm, fmt.Sprintf("set only one of %s and %s_FILE", name, name)}
	case file != "":
		name += "_FILE"
		info, err := os.Stat(file)
		if err == nil && !info.Mode().IsRegular() { // which is not opened: a pipe waits for somebody to write to it
			return "", &credentialsError{ReasonForm, fmt.Sprintf("%s: %s is not a regular file", name, file)}
		}
		var content []byte
		if err == nil {
			content, err = os.ReadFile(file)
		}
		if err != nil {
			return "", &credentialsError{Reason(outbound.FailureOf(err)), fmt.Sprintf("%s: %s", name, err)} // names the file and quotes none of it
		}
		value = strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	}
	blank := func(r rune) bool { return unicode.IsSpace(r) || r == '\ufeff' } // some editors begin a file with the latter
	switch {
	case value == "":
		return "", &credentialsError{ReasonForm, fmt.Sprintf("the file of %s is empty", name)}
	case strings.TrimFunc(value, blank) != value:
		return "", &credentialsError{ReasonForm, fmt.Sprintf("%s begins or ends with a blank, or with more than one line end", name)}
	}
	return value, nil
}

// KeyFromEnv reads the secret of all replicas, [Config.Key], from GRIDBRIDGE_KEY or from the
// file that GRIDBRIDGE_KEY_FILE names. If neither is set it is secret, the API
// credentials', which all replicas have too.
func KeyFromEnv(getenv func(string) string, secret Secret) (Secret, error) {
	if getenv("GRIDBRIDGE_KEY") == "" && getenv("GRIDBRIDGE_KEY_FILE") == "" {
		return secret, nil
	}
	text, err := envOrFile(getenv, "GRIDBRIDGE_KEY")
	if err == nil && len(text) < minKey {
		err = &credentialsError{ReasonForm, fmt.Sprintf("GRIDBRIDGE_KEY has fewer than %d characters", minKey)}
	}
	return NewSecret(text), err
}

// minKey is how long a key must be: somebody who reads the audit may try keys.
const minKey = 32

// CredentialsWarnings says which files of [CredentialsFromEnv] and [KeyFromEnv] everybody on the machine
// can read or change. That is no error: it is how Kubernetes mounts secrets, in a
// container where nobody else is.
func CredentialsWarnings(getenv func(string) string) (warnings []string) {
	for _, name := range []string{"GRID_CLIENT_ID_FILE", "GRID_CLIENT_SECRET_FILE", "GRIDBRIDGE_KEY_FILE"} {
		if file := getenv(name); file != "" {
			if info, err := os.Stat(file); err == nil && info.Mode()&0o006 != 0 {
				warnings = append(warnings, fmt.Sprintf("the file of %s is open to everybody on this machine (mode %04o)", name, info.Mode().Perm()))
			}
		}
	}
	return warnings
}

// Derive returns a key of 32 bytes for purpose: HMAC-SHA256 under s. It tells nothing of
// s, nor of the keys for other purposes.
func (s Secret) Derive(purpose string) []byte {
	mac := hmac.New(sha256.New, []byte(s.reveal()))
	mac.Write([]byte(purpose))
	return mac.Sum(nil)
}
