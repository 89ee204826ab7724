package signer

import "strings"

// Operation names a request of Grid's auth endpoints: a row of the table below,
// which is all that this module, its bridge and its npm package know of them.
type Operation string

const (
	OpListSessions        Operation = "list-sessions"
	OpRevokeSession       Operation = "revoke-session"
	OpRefreshSession      Operation = "refresh-session"
	OpListCredentials     Operation = "list-credentials"
	OpAddCredential       Operation = "add-credential"
	OpRemoveCredential    Operation = "remove-credential"
	OpChallengeCredential Operation = "challenge-credential" // has a code sent, or a passkey asked
	OpVerifyCredential    Operation = "verify-credential"    // signs in
	OpExportWallet        Operation = "export-wallet"
)

// operation is a row: a request, and what becomes of it.
type operation struct {
	name   Operation
	method string
	path   string     // {Kind} stands for the one id that it takes
	intent IntentName // what Grid has signed, "" where it asks for no signature

	// body reads what is submitted into a [Submission] that has the intent's name.
	// nil takes no body.
	body func(*jsonValue, *Submission) (ok bool)

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
	{OpChallengeCredential, "POST", "/auth/credentials/{AuthMethod}/challenge", "", readChallenge, 200, Issued, "", isIssued},
	{OpVerifyCredential, "POST", "/auth/credentials/{AuthMethod}/verify", SignIn, readProof, 200, Verified, "", isSession},
	{OpExportWallet, "POST", "/internal-accounts/{InternalAccount}/export", ExportWallet, readSealingKey, 200, Exported, "", isExport},
}

// Status is the outcome of an operation.
type Status string

const (
	Listed    Status = "listed"
	Refreshed Status = "refreshed"
	Added     Status = "added"
	Removed   Status = "removed"
	Issued    Status = "issued"
	Verified  Status = "verified"
	Exported  Status = "exported"

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
	Intent IntentName // of its challenge, if its body has one; "" where there never is one to relay
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

// Submission is what the body of a request says.
type Submission struct {
	// Intent is what its challenge must be for, as far as the body tells. It has
	// no name where there is no challenge.
	Intent Intent

	Account string // that it names, or ""

	// Answers says that it is the answer to a challenge that was issued before: it
	// goes with Request-Id, and without a signature.
	Answers bool
}

// Judge reads the body of a request strictly: exactly the fields of the
// operation, once each. The error is [ErrArgumentInvalid].
func (op Operation) Judge(body string) (Submission, error) {
	row := op.row()
	if row == nil {
		return Submission{}, fail(ErrArgumentInvalid, "unknown operation")
	}
	s := Submission{Intent: Intent{Name: row.intent}}
	if row.body == nil {
		if body != "" {
			return Submission{}, fail(ErrArgumentInvalid, string(op)+" takes no body")
		}
		return s, nil
	}
	if v, err := parseJSON(body); err != nil || !row.body(&v, &s) {
		return Submission{}, fail(ErrArgumentInvalid, "the body is not what "+string(op)+" submits")
	}
	return s, nil
}

// readClientKey reads {clientPublicKey} (Grid's schema AuthSessionRefreshRequest).
func readClientKey(v *jsonValue, s *Submission) (ok bool) {
	s.Intent.TargetPublicKey, ok = v.text("clientPublicKey")
	return ok && v.hasOnly("clientPublicKey") && isClientKey(s.Intent.TargetPublicKey)
}

// readSealingKey reads that of POST /internal-accounts/{id}/export: uncompressed.
func readSealingKey(v *jsonValue, s *Submission) bool {
	return readClientKey(v, s) && isUncompressed(s.Intent.TargetPublicKey)
}

// readChallenge reads what POST /auth/credentials/{id}/challenge takes: {} for a
// code, and the key that a passkey is to vouch for.
func readChallenge(v *jsonValue, s *Submission) bool {
	return v.kind == jsonObject && v.hasOnly() || readClientKey(v, s)
}

// readProof reads the three bodies of POST /auth/credentials/{id}/verify. Only a
// code is followed by a challenge; a passkey has answered one.
func readProof(v *jsonValue, s *Submission) bool {
	typ, _ := v.text("type")
	s.Intent.Credential = CredentialType(typ)
	switch s.Intent.Credential {
	case EmailOTP, SMSOTP:
		return v.hasOnly("type", "encryptedOtpBundle") && v.hasText("encryptedOtpBundle")
	case OAuth:
		s.Intent.Name = ""
		s.Intent.TargetPublicKey, _ = v.text("clientPublicKey")
		return v.hasOnly("type", "oidcToken", "clientPublicKey") && v.hasText("oidcToken") && isClientKey(s.Intent.TargetPublicKey)
	case Passkey:
		s.Intent.Name, s.Answers = "", true
		a := v.member("assertion")
		return v.hasOnly("type", "assertion") && a != nil &&
			a.hasOnly("credentialId", "clientDataJson", "authenticatorData", "signature", "userHandle") &&
			a.hasText("credentialId") && a.hasText("clientDataJson") && a.hasText("authenticatorData") && a.hasText("signature") &&
			(a.member("userHandle") == nil || a.hasText("userHandle"))
	}
	return false
}

// readCredential reads the four bodies of POST /auth/credentials. Those of the OTP
// types do not say to which address or number: Grid's customer record does.
func readCredential(v *jsonValue, s *Submission) (ok bool) {
	typ, _ := v.text("type")
	s.Intent.Credential = CredentialType(typ)
	s.Account, _ = v.text("accountId")
	switch s.Intent.Credential {
	case EmailOTP, SMSOTP:
		ok = v.hasOnly("type", "accountId")
	case OAuth:
		s.Intent.Submitted, _ = v.text("oidcToken")
		ok = v.hasOnly("type", "accountId", "oidcToken") && s.Intent.Submitted != ""
	case Passkey:
		if a := v.member("attestation"); a != nil {
			s.Intent.Submitted, _ = a.text("attestationObject")
			ok = a.hasOnly("attestationObject", "clientDataJson", "credentialId", "transports") && s.Intent.Submitted != "" &&
				a.hasText("clientDataJson") && a.hasText("credentialId") && a.areTexts("transports")
		}
		ok = ok && v.hasOnly("type", "accountId", "nickname", "challenge", "attestation") && v.hasText("nickname") && v.hasText("challenge")
	}
	return ok && ValidID("InternalAccount", s.Account)
}

// isClientKey reports a public key in hex, compressed or not, as Grid's pattern
// has it.
func isClientKey(s string) bool {
	for i := range len(s) {
		if !isHex(s[i]) {
			return false
		}
	}
	return len(s) == 66 && (strings.HasPrefix(s, "02") || strings.HasPrefix(s, "03")) || len(s) == 130 && isUncompressed(s)
}

// isUncompressed reports whether a client key is one that Grid seals to.
func isUncompressed(key string) bool { return strings.HasPrefix(key, "04") }

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
// it must be of. The hex of an id may come in either case.
func (q *question) isOf(kind string, got *jsonValue) bool {
	id, _ := got.text("id")
	account, _ := got.text("accountId")
	return ValidID(kind, id) && ValidID("InternalAccount", account) && (q.account == "" || equalFold(account, q.account))
}

// isSession wants a session whose key is the one that was submitted, or, where
// that was an uncompressed one, the one that Grid made and sealed to it.
func isSession(q *question, got *jsonValue) bool {
	expiresAt, _ := got.text("expiresAt")
	_, ok := parseTime(expiresAt)
	sealed := got.member("encryptedSessionSigningKey")
	isSealed := sealed != nil && sealed.kind != jsonNull
	isOfType := q.intent.Credential == "" || got.isText("type", string(q.intent.Credential))
	return ok && isOfType && q.isOf("Session", got) && isSealed == isUncompressed(q.intent.TargetPublicKey) &&
		(!isSealed || got.hasText("encryptedSessionSigningKey"))
}

// isNewSession wants another session than the one that was refreshed.
func isNewSession(q *question, got *jsonValue) bool {
	id, _ := got.text("id")
	return isSession(q, got) && !equalFold(id, q.id)
}

// isIssued wants what was asked for of that very credential: a passkey of another
// one, or a code to seal for another one, would let a relay sign a person in
// elsewhere than they think.
func isIssued(q *question, got *jsonValue) bool {
	id, _ := got.text("id")
	if !q.isOf("AuthMethod", got) || !equalFold(id, q.id) {
		return false
	}
	if q.intent.TargetPublicKey == "" {
		return (got.isText("type", string(EmailOTP)) || got.isText("type", string(SMSOTP))) && got.hasText("otpEncryptionTargetBundle")
	}
	challenge, _ := got.text("challenge")
	requestID, _ := got.text("requestId")
	expiresAt, _ := got.text("expiresAt")
	_, ok := parseTime(expiresAt)
	return ok && got.isText("type", string(Passkey)) && got.hasText("credentialId") &&
		len(challenge) == 64 && strings.Trim(challenge, "0123456789abcdef") == "" && ValidRequestID(requestID)
}

// isExport wants the wallet of the account that was asked for.
func isExport(q *question, got *jsonValue) bool {
	id, _ := got.text("id")
	return equalFold(id, q.id) && got.hasText("encryptedWalletCredentials")
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
