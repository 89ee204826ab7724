package signer

// IntentName names what the caller wants a signature for.
type IntentName string

// The intents. What is signed must be what the caller named: Grid's payloads
// are relayed by a backend, and a bad one could swap "revoke" for "send money".
const (
	RevokeSession    IntentName = "revoke-session"
	RefreshSession   IntentName = "refresh-session"
	AddCredential    IntentName = "add-credential"
	RemoveCredential IntentName = "remove-credential"
	SignIn           IntentName = "sign-in"
	ExportWallet     IntentName = "export-wallet"
	UpdateWallet     IntentName = "update-wallet"
	SendPayment      IntentName = "send-payment"
)

// CredentialType is the kind of a credential, as Grid spells it.
type CredentialType string

const (
	EmailOTP CredentialType = "EMAIL_OTP"
	SMSOTP   CredentialType = "SMS_OTP"
	OAuth    CredentialType = "OAUTH"
	Passkey  CredentialType = "PASSKEY"
)

// Intent is an [IntentName] and what the caller submitted with it. The zero
// value means [RevokeSession]: whatever adds a way in, takes one away, mints a
// session, exports a wallet or moves money must be named.
type Intent struct {
	Name IntentName

	// TargetPublicKey is the clientPublicKey that the caller sent with
	// RefreshSession or ExportWallet, spelled as it was sent. Without it a
	// relay could have a session minted, or a wallet sealed, for its own key.
	TargetPublicKey string

	// Credential is the type of the credential that AddCredential adds or
	// RemoveCredential takes away.
	Credential CredentialType

	// Submitted is what AddCredential adds: the e-mail address, the phone
	// number, the OIDC token, or the passkey's attestationObject, as it was
	// submitted. A passkey's id is not enough: a relay could keep it, and put
	// a key of its own behind it.
	Submitted string
}

// normalize fills in the default and checks that what the name needs is there.
func (in Intent) normalize() (Intent, error) {
	switch in.Name {
	case "":
		in.Name = RevokeSession
	case RevokeSession, SignIn, UpdateWallet, SendPayment:
	case RefreshSession, ExportWallet:
		if in.TargetPublicKey == "" {
			return in, fail(ErrArgumentInvalid, "intent "+string(in.Name)+" needs targetPublicKey")
		}
	case AddCredential, RemoveCredential:
		switch in.Credential {
		case EmailOTP, SMSOTP, OAuth, Passkey:
		default:
			return in, fail(ErrArgumentInvalid, "intent "+string(in.Name)+" needs the type of the credential")
		}
		if in.Name == AddCredential && in.Submitted == "" {
			return in, fail(ErrArgumentInvalid, "intent add-credential needs what was submitted")
		}
	default:
		return in, fail(ErrArgumentInvalid, "unknown intent")
	}
	return in, nil
}

// Turnkey's activity types, as the payloads in Grid's documentation have them.
const (
	activityDeleteAPIKeys        = "ACTIVITY_TYPE_DELETE_API_KEYS"
	activityCreateSession        = "ACTIVITY_TYPE_CREATE_READ_WRITE_SESSION_V2"
	activityUpdateEmail          = "ACTIVITY_TYPE_UPDATE_USER_EMAIL"
	activityUpdatePhone          = "ACTIVITY_TYPE_UPDATE_USER_PHONE_NUMBER"
	activityCreateOAuthProviders = "ACTIVITY_TYPE_CREATE_OAUTH_PROVIDERS"
	activityCreateAuthenticators = "ACTIVITY_TYPE_CREATE_AUTHENTICATORS_V2"
	activityDeleteAuthenticators = "ACTIVITY_TYPE_DELETE_AUTHENTICATORS"
	activityDeleteOAuthProviders = "ACTIVITY_TYPE_DELETE_OAUTH_PROVIDERS" // as tkhq/sdk has it
	activityExportWallet         = "ACTIVITY_TYPE_EXPORT_WALLET"
	activitySignRawPayload       = "ACTIVITY_TYPE_SIGN_RAW_PAYLOAD_V2"
	activitySignTransaction      = "ACTIVITY_TYPE_SIGN_TRANSACTION_V2"
)

// Accept reports whether p does what the caller named, and only that. key is
// the key that will sign. The error is [ErrIntentMismatch], or
// [ErrArgumentInvalid] for an incomplete intent.
//
// It does not prove what is inside the two opaque texts: the amounts and
// destinations of a payment's unsignedTransaction, and the raw payload of
// UpdateWallet, which is signed as it is and could be anything.
func (in Intent) Accept(p Payload, key PublicKey) error {
	in, err := in.normalize()
	if err != nil {
		return err
	}
	if in.accepts(p, &key) {
		return nil
	}
	seen := string(p.Kind)
	if p.Kind == KindActivity {
		seen = p.ActivityType
	}
	return fail(ErrIntentMismatch, "the payload ("+seen+") is not what "+string(in.Name)+" signs")
}

// Plausible is [Intent.Accept] for whoever relays a challenge and does not sign:
// what is not known there, the key and to which address or number a credential is
// added, is held against nothing. The zero value is plausible for no payload.
func (in Intent) Plausible(p Payload) bool { return in.accepts(p, nil) }

// accepts takes nil for a key that is not known.
func (in Intent) accepts(p Payload, key *PublicKey) bool {
	params := &p.parameters
	switch in.Name {
	case RevokeSession:
		return p.Kind == KindOpaque ||
			p.ActivityType == activityDeleteAPIKeys && params.hasOnly("apiKeyIds", "userId") && params.oneText("apiKeyIds")

	case RefreshSession:
		return p.ActivityType == activityCreateSession && params.hasOnly("targetPublicKey") && params.isText("targetPublicKey", in.TargetPublicKey)

	case ExportWallet:
		return p.ActivityType == activityExportWallet && params.hasOnly("targetPublicKey", "walletId") && params.isText("targetPublicKey", in.TargetPublicKey)

	case AddCredential:
		return in.adds(p.ActivityType, params)

	case RemoveCredential:
		return in.removes(p.ActivityType, params)

	case SignIn:
		// Grid's own example has no such claim. One of another type could be
		// read as a key by somebody.
		claim := p.claims.member("public_key")
		return p.Kind == KindJWT && (claim == nil || claim.kind == jsonString && (key == nil || key.isHex(claim.scalar)))

	case UpdateWallet:
		return p.ActivityType == activitySignRawPayload && params.hasOnly("encoding", "hashFunction", "payload", "signWith")

	case SendPayment:
		return p.ActivityType == activitySignTransaction && params.hasOnly("signWith", "type", "unsignedTransaction")
	}
	return false
}

// adds reports whether the activity adds the one credential that was submitted.
func (in Intent) adds(activity string, params *jsonValue) bool {
	switch {
	case in.Credential == EmailOTP && activity == activityUpdateEmail:
		return params.hasOnly("userEmail", "userId") && in.isSubmitted(params, "userEmail")
	case in.Credential == SMSOTP && activity == activityUpdatePhone:
		return params.hasOnly("userPhoneNumber", "userId") && in.isSubmitted(params, "userPhoneNumber")
	case in.Credential == OAuth && activity == activityCreateOAuthProviders:
		provider := params.onlyItem("oauthProviders")
		return params.hasOnly("oauthProviders", "userId") && provider != nil &&
			provider.hasOnly("oidcToken", "providerName") && provider.isText("oidcToken", in.Submitted)
	case in.Credential == Passkey && activity == activityCreateAuthenticators:
		authenticator := params.onlyItem("authenticators")
		if !params.hasOnly("authenticators", "userId") || authenticator == nil ||
			!authenticator.hasOnly("attestation", "authenticatorName", "challenge", "transports") {
			return false
		}
		attestation := authenticator.member("attestation")
		return attestation != nil && attestation.hasOnly("attestationObject", "clientDataJson", "credentialId", "transports") &&
			attestation.isText("attestationObject", in.Submitted)
	}
	return false
}

// isSubmitted reports whether name is what was submitted or, where that is not
// known, something: nothing would take the credential away.
func (in Intent) isSubmitted(v *jsonValue, name string) bool {
	if in.Submitted == "" {
		return v.hasText(name)
	}
	return v.isText(name, in.Submitted)
}

// removes reports whether the activity removes one credential of the type that
// was named.
func (in Intent) removes(activity string, params *jsonValue) bool {
	switch {
	case in.Credential == EmailOTP && activity == activityUpdateEmail:
		return params.hasOnly("userEmail", "userId") && params.isText("userEmail", "")
	case in.Credential == SMSOTP && activity == activityUpdatePhone:
		return params.hasOnly("userPhoneNumber", "userId") && params.isText("userPhoneNumber", "")
	case in.Credential == OAuth && activity == activityDeleteOAuthProviders:
		return params.hasOnly("providerIds", "userId") && params.oneText("providerIds")
	case in.Credential == Passkey && activity == activityDeleteAuthenticators:
		return params.hasOnly("authenticatorIds", "userId") && params.oneText("authenticatorIds")
	}
	return false
}

func (v *jsonValue) isText(name, want string) bool {
	got, ok := v.text(name)
	return ok && got == want
}

// onlyItem returns the item of the array under name if it has exactly one.
func (v *jsonValue) onlyItem(name string) *jsonValue {
	if a := v.member(name); a != nil && a.kind == jsonArray && len(a.items) == 1 {
		return &a.items[0]
	}
	return nil
}

// oneText reports whether name is an array of one text that is not empty.
func (v *jsonValue) oneText(name string) bool {
	item := v.onlyItem(name)
	return item != nil && item.kind == jsonString && item.scalar != ""
}
