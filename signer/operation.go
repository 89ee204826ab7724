package signer

import "strings"

// Operation names a request of Grid's auth endpoints: a row of the table below,
// which is all that this module, its bridge and its npm package know of them.
type Operation string

const (
	OpListSessions     Operation = "list-sessions"
	OpRevokeSession    Operation = "revoke-session"
	OpRefreshSession   Operation = "refresh-session"
	OpListCredentials  Operation = "list-credentials"
	OpAddCredential    Operation = "add-credential"
	OpRemoveCredential Operation = "remove-credential"
	OpVerifyCredential Operation = "verify-credential" // OAUTH: one request, unsigned
)

// operation is a row: a request, and what becomes of it.
type operation struct {
	name   Operation
	method string
	path   string     // {Kind} stands for the one id that it takes
	intent IntentName // what Grid has signed, "" where it asks for no signature

	// body reads what is submitted, which is not always all that the payload
	// must say, and says whose account it names. nil takes no body.
	body func(*jsonValue) (in Intent, account string, ok bool)

	status int    // the terminal one
	done   Status // what it means
	gone   Status // what a 404 means, "" for a refusal

	// answer reports whether the terminal body is about what was asked for. nil
	// where there is none.
	answer func(q *question, got *jsonValue) bool
}

var operations = []operation{
	{OpListSessions, "GET", "/auth/sessions?accountId={InternalAccount}", "", nil, 200, Listed, "", isListOf("Session")},
	{OpRevokeSession, "DELETE", "/auth/sessions/{Session}", RevokeSession, nil, 204, Revoked, Inactive, nil},
	{OpRefreshSession, "POST", "/auth/sessions/{Session}/refresh", RefreshSession, readClientKey, 201, Refreshed, "", isNewSession},
	{OpListCredentials, "GET", "/auth/credentials?accountId={InternalAccount}", "", nil, 200, Listed, "", isListOf("AuthMethod")},
	{OpAddCredential, "POST", "/auth/credentials", AddCredential, readCredential, 201, Added, "", isNewCredential},
	{OpRemoveCredential, "DELETE", "/auth/credentials/{AuthMethod}", RemoveCredential, nil, 204, Removed, Gone, nil},
	{OpVerifyCredential, "POST", "/auth/credentials/{AuthMethod}/verify", "", readOAuth, 200, Verified, "", isSession},
}

// Status is the outcome of an operation.
type Status string

const (
	Listed    Status = "listed"
	Refreshed Status = "refreshed"
	Added     Status = "added"
	Removed   Status = "removed"
	Verified  Status = "verified"

	// Gone means that there is no such credential (any more).
	Gone Status = "gone"

	// Revoked means that Grid answered 204 to our signature.
	Revoked Status = "revoked"

	// Inactive means that there is no active session of that id, by the word
	// of Grid or of the bridge: it was revoked before, ran out, never was, or
	// is another user's.
	Inactive Status = "inactive"
)

func (op Operation) row() *operation {
	for i := range operations {
		if operations[i].name == op {
			return &operations[i]
		}
	}
	return nil
}

// Operations are all that there are.
func Operations() []Operation {
	names := make([]Operation, len(operations))
	for i := range operations {
		names[i] = operations[i].name
	}
	return names
}

// Route is the request of an operation, for whoever relays it.
type Route struct {
	Method string
	Path   string     // below the base URL, and its query; {Kind} stands for an id
	Intent IntentName // of its challenge, "" where there is none to relay
	Body   bool       // whether it takes one, which is JSON
	Status int        // the terminal one
}

// Route is the zero value for what is no operation.
func (op Operation) Route() Route {
	row := op.row()
	if row == nil {
		return Route{}
	}
	return Route{row.method, row.path, row.intent, row.body != nil, row.status}
}

// idKind is the kind of the id in a template, "" where it takes none.
func (o *operation) idKind() string {
	_, rest, _ := strings.Cut(o.path, "{")
	kind, _, _ := strings.Cut(rest, "}")
	return kind
}

// Judge reads the body of a request strictly: exactly the fields of the
// operation, once each. It returns the intent that a challenge for it must have,
// as far as the body tells, with no name where there is no challenge, and the
// account that the body names, or "". The error is [ErrArgumentInvalid].
func (op Operation) Judge(body string) (in Intent, account string, err error) {
	row := op.row()
	switch {
	case row == nil:
		return in, "", fail(ErrArgumentInvalid, "unknown operation")
	case row.body == nil && body != "":
		return in, "", fail(ErrArgumentInvalid, string(op)+" takes no body")
	case row.body != nil:
		v, err := parseJSON(body)
		ok := err == nil
		if ok {
			in, account, ok = row.body(&v)
		}
		if !ok {
			return Intent{}, "", fail(ErrArgumentInvalid, "the body is not what "+string(op)+" submits")
		}
	}
	in.Name = row.intent
	return in, account, nil
}

// readClientKey reads {clientPublicKey} (contract 2.3).
func readClientKey(v *jsonValue) (in Intent, account string, ok bool) {
	in.TargetPublicKey, ok = v.text("clientPublicKey")
	return in, "", ok && v.hasOnly("clientPublicKey") && isClientKey(in.TargetPublicKey)
}

// readOAuth reads {type, oidcToken, clientPublicKey} (contract 2.8).
func readOAuth(v *jsonValue) (in Intent, account string, ok bool) {
	key, _ := v.text("clientPublicKey")
	return in, "", v.hasOnly("type", "oidcToken", "clientPublicKey") && v.isText("type", string(OAuth)) && v.hasText("oidcToken") && isClientKey(key)
}

// readCredential reads the four bodies of contract 2.5. Those of the OTP types
// do not say to which address or number: Grid's customer record does.
func readCredential(v *jsonValue) (in Intent, account string, ok bool) {
	typ, _ := v.text("type")
	in.Credential = CredentialType(typ)
	account, _ = v.text("accountId")
	switch in.Credential {
	case EmailOTP, SMSOTP:
		ok = v.hasOnly("type", "accountId")
	case OAuth:
		in.Submitted, _ = v.text("oidcToken")
		ok = v.hasOnly("type", "accountId", "oidcToken") && in.Submitted != ""
	case Passkey:
		if a := v.member("attestation"); a != nil {
			in.Submitted, _ = a.text("attestationObject")
			ok = a.hasOnly("attestationObject", "clientDataJson", "credentialId", "transports") && in.Submitted != "" &&
				a.hasText("clientDataJson") && a.hasText("credentialId") && a.areTexts("transports")
		}
		ok = ok && v.hasOnly("type", "accountId", "nickname", "challenge", "attestation") && v.hasText("nickname") && v.hasText("challenge")
	}
	return in, account, ok && ValidID("InternalAccount", account)
}

// isClientKey reports a public key in hex, compressed or not, as Grid's pattern
// has it.
func isClientKey(s string) bool {
	for i := range len(s) {
		if !isHex(s[i]) {
			return false
		}
	}
	return len(s) == 66 && (strings.HasPrefix(s, "02") || strings.HasPrefix(s, "03")) || len(s) == 130 && strings.HasPrefix(s, "04")
}

// question is what was asked, for the answer to be held against.
type question struct {
	id, account string
	intent      Intent
}

// isListOf wants {"data":[…]}, of which each must have what a reader builds on:
// an id of this kind and, of a session, a text expiresAt. None may say that it is
// of another account.
func isListOf(kind string) func(*question, *jsonValue) bool {
	return func(q *question, got *jsonValue) bool {
		data := got.member("data")
		if data == nil || data.kind != jsonArray {
			return false
		}
		for i := range data.items {
			row := &data.items[i]
			id, _ := row.text("id")
			if !ValidID(kind, id) || kind == "Session" && !row.hasText("expiresAt") || row.member("accountId") != nil && !q.isOf(kind, row) {
				return false
			}
		}
		return true
	}
}

// isOf reports whether the answer is a thing of this kind, of the account that
// it must be of. The hex of an id may come in either case (contract 1.3).
func (q *question) isOf(kind string, got *jsonValue) bool {
	id, _ := got.text("id")
	account, _ := got.text("accountId")
	return ValidID(kind, id) && ValidID("InternalAccount", account) && (q.account == "" || strings.EqualFold(account, q.account))
}

// isSession wants a session whose key is the one that was submitted: one that
// Grid made and sealed is another.
func isSession(q *question, got *jsonValue) bool {
	expiresAt, _ := got.text("expiresAt")
	_, ok := parseTime(expiresAt)
	sealed := got.member("encryptedSessionSigningKey")
	return ok && q.isOf("Session", got) && (sealed == nil || sealed.kind == jsonNull)
}

// isNewSession wants another session than the one that was refreshed.
func isNewSession(q *question, got *jsonValue) bool {
	id, _ := got.text("id")
	return isSession(q, got) && !strings.EqualFold(id, q.id)
}

func isNewCredential(q *question, got *jsonValue) bool {
	return q.isOf("AuthMethod", got) && got.isText("type", string(q.intent.Credential))
}

// hasText reports a text that is not empty.
func (v *jsonValue) hasText(name string) bool {
	s, ok := v.text(name)
	return ok && s != ""
}

// areTexts reports an array of texts, or nothing.
func (v *jsonValue) areTexts(name string) bool {
	a := v.member(name)
	if a == nil {
		return true
	}
	for i := range a.items {
		if a.items[i].kind != jsonString {
			return false
		}
	}
	return a.kind == jsonArray
}
