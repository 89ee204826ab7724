package gridsim

import (
	"errors"
	"net/http"
	"time"
)

// The codes of Grid's error envelope that occur here.
const (
	codeInvalidInput      = "INVALID_INPUT"
	codeUnauthorized      = "UNAUTHORIZED"
	codeSignatureMissing  = "WALLET_SIGNATURE_MISSING"
	codeMalformed         = "WALLET_SIGNATURE_MALFORMED"
	codeBodyMismatch      = "WALLET_SIGNATURE_BODY_MISMATCH"
	codeInvalid           = "WALLET_SIGNATURE_INVALID"
	codeRequestIDMissing  = "REQUEST_ID_MISSING"
	codeReferenceNotFound = DefaultNotFoundCode
	codeMethodNotAllowed  = "METHOD_NOT_ALLOWED"
	codeRateLimited       = "RATE_LIMITED"
	codeInternal          = "INTERNAL_ERROR"
	codeNotImplemented    = "NOT_IMPLEMENTED"
	codeEmailOTPExists    = "EMAIL_OTP_CREDENTIAL_ALREADY_EXISTS"
	codeSMSOTPExists      = "SMS_OTP_CREDENTIAL_ALREADY_EXISTS"
	codePasskeyExists     = "PASSKEY_CREDENTIAL_ALREADY_EXISTS"
)

// reason is one cause of a refusal. It is an error, and its text is the reason
// in the envelope. Grid's codes are few; a reason tells which check failed.
type reason string

func (r reason) Error() string { return string(r) }

// retryLater is a refusal that passes by itself: the answer has a Retry-After.
type retryLater struct {
	reason
	wait time.Duration
}

func (e retryLater) Unwrap() error { return e.reason }

const (
	pathUnknown      reason = "path_unknown"
	pathUnserved     reason = "path_not_simulated"
	methodNotAllowed reason = "method_not_allowed"

	credentialsMissing   reason = "credentials_missing"
	credentialsMalformed reason = "credentials_malformed"
	credentialsWrong     reason = "credentials_wrong"

	bodyUnreadable     reason = "body_unreadable"
	bodyTooLarge       reason = "body_too_large"
	bodyNotObject      reason = "body_not_json_object"
	bodyFieldDuplicate reason = "body_field_duplicate"
	bodyUnexpected     reason = "body_unexpected"
	contentTypeWrong   reason = "content_type_not_json"
	queryMalformed     reason = "query_malformed"
	accountIDMissing   reason = "account_id_missing"
	accountIDRepeated  reason = "account_id_repeated"
	accountIDMalformed reason = "account_id_malformed"
	advanceInvalid     reason = "advance_seconds_invalid"

	sessionIDMalformed    reason = "session_id_malformed"
	sessionNotActive      reason = "session_not_active"
	sessionUnknown        reason = "session_unknown"
	sessionEnded          reason = "session_ended"
	credentialIDMalformed reason = "credential_id_malformed"
	credentialUnknown     reason = "credential_unknown"
	accountUnknown        reason = "account_unknown"

	typeMissing         reason = "type_missing"
	typeUnknown         reason = "type_unknown"
	typeMismatch        reason = "type_mismatch"
	clientKeyMissing    reason = "client_public_key_missing"
	clientKeyMalformed  reason = "client_public_key_malformed"
	clientKeyOffCurve   reason = "client_public_key_off_curve"
	otpBundleMissing    reason = "encrypted_otp_bundle_missing"
	assertionMalformed  reason = "assertion_missing_or_malformed"
	tokenMissing        reason = "oidc_token_missing"
	tokenMalformed      reason = "oidc_token_malformed"
	tokenClaimMalformed reason = "oidc_claim_malformed"
	issuerUnsupported   reason = "oidc_issuer_unsupported"
	issuerMismatch      reason = "oidc_issuer_mismatch"
	audienceMismatch    reason = "oidc_audience_mismatch"
	subjectMismatch     reason = "oidc_subject_mismatch"
	tokenStale          reason = "oidc_iat_too_old"
	tokenFromFuture     reason = "oidc_iat_in_future"
	tokenExpired        reason = "oidc_expired"
	nonceMissing        reason = "oidc_nonce_missing"
	nonceMismatch       reason = "oidc_nonce_mismatch"
	sessionsExhausted   reason = "too_many_sessions"
	attemptsExhausted   reason = "too_many_attempts"
	signInUnserved      reason = "sign_in_not_simulated"
	challengeOfOAuth    reason = "challenge_of_oauth_credential"

	// Grid's own words for what is wrong with a code, as far as they are known.
	otpWrong            reason = "Invalid OTP code"
	otpNotSent          reason = "No pending OTP for this credential: none was sent"
	otpLapsed           reason = "No pending OTP for this credential: it has lapsed"
	otpUsed             reason = "No pending OTP for this credential: it was used"
	otpTriedTooOften    reason = "No pending OTP for this credential: wrong codes were tried too often"
	otpSuperseded       reason = "No pending OTP for this credential: a later one was sent"
	otpBundleMalformed  reason = "encrypted_otp_bundle_malformed"
	otpBundleNotHex     reason = "encrypted_otp_bundle_not_hex"
	otpBundleOffCurve   reason = "encrypted_otp_bundle_off_curve"
	otpUndecryptable    reason = "encrypted_otp_bundle_undecryptable"
	otpContentMalformed reason = "encrypted_otp_content_malformed"
	otpKeyInvalid       reason = "encrypted_otp_public_key_invalid"

	passkeyRequestIDMissing      reason = "passkey_request_id_missing"
	assertionNotBase64           reason = "assertion_not_base64url"
	assertionClientDataMalformed reason = "assertion_client_data_malformed"
	assertionAuthDataMalformed   reason = "assertion_authenticator_data_malformed"
	assertionOfAnother           reason = "assertion_of_another_passkey"
	assertionOfAnotherType       reason = "assertion_of_another_type"
	assertionChallengeMismatch   reason = "assertion_challenge_mismatch"
	assertionOriginWrong         reason = "assertion_origin_wrong"
	assertionForAnotherRP        reason = "assertion_rp_id_hash_mismatch"
	assertionUserAbsent          reason = "assertion_user_not_present"
	assertionSignatureInvalid    reason = "assertion_signature_does_not_verify"
	assertionCounterRegress      reason = "assertion_counter_regress"

	exportKeyCompressed reason = "export_public_key_compressed"
	walletIDMalformed   reason = "internal_account_id_malformed"

	emailOTPExists          reason = "email_otp_credential_exists"
	smsOTPExists            reason = "sms_otp_credential_exists"
	identityExists          reason = "oidc_identity_exists"
	passkeyExists           reason = "passkey_exists"
	registrationUsed        reason = "registration_challenge_used"
	credentialsExhausted    reason = "too_many_credentials"
	lastCredential          reason = "only_credential"
	nicknameInvalid         reason = "nickname_invalid"
	registrationMalformed   reason = "registration_challenge_missing_or_malformed"
	registrationMismatch    reason = "registration_challenge_mismatch"
	attestationMissing      reason = "attestation_missing_or_not_base64url"
	transportsInvalid       reason = "transports_invalid"
	clientDataMalformed     reason = "client_data_malformed"
	clientDataOfAnotherType reason = "client_data_of_another_type"
	originInvalid           reason = "origin_invalid"
	attestationMalformed    reason = "attestation_object_malformed"
	authDataMalformed       reason = "authenticator_data_malformed"
	relyingPartyMismatch    reason = "rp_id_hash_mismatch"
	userAbsent              reason = "user_not_present"
	attestedDataMissing     reason = "attested_credential_data_missing"
	passkeyIDMismatch       reason = "passkey_id_mismatch"
	passkeyKeyInvalid       reason = "passkey_key_invalid"
	attestationInvalid      reason = "attestation_does_not_verify"

	requestIDRepeated     reason = "request_id_repeated"
	requestIDMissing      reason = "request_id_missing"
	signatureMissing      reason = "wallet_signature_missing"
	signatureRepeated     reason = "wallet_signature_repeated"
	signatureTooLong      reason = "wallet_signature_too_long"
	stampNotBase64        reason = "stamp_not_base64url"
	stampNotObject        reason = "stamp_not_json_object"
	stampEscaped          reason = "stamp_escaped"
	stampFieldDuplicate   reason = "stamp_field_duplicate"
	stampFieldMissing     reason = "stamp_field_missing_or_not_string"
	stampFieldExtra       reason = "stamp_field_extra"
	stampSchemeUnknown    reason = "stamp_scheme_unknown"
	stampKeyMalformed     reason = "stamp_key_malformed"
	stampKeyOffCurve      reason = "stamp_key_off_curve"
	stampSignatureNotHex  reason = "stamp_signature_not_hex"
	derNotBase64          reason = "signature_not_base64"
	derMalformed          reason = "signature_not_der"
	derOutOfRange         reason = "signature_out_of_range"
	challengeUnknown      reason = "challenge_unknown"
	challengeElsewhere    reason = "challenge_of_another_request"
	challengeConsumed     reason = "challenge_consumed"
	challengeExpired      reason = "challenge_expired"
	processingOtherStamp  reason = "another_signature_processing"
	boundBodyDiffers      reason = "body_differs_from_challenge"
	signerNotEligible     reason = "signer_not_eligible"
	signerUnmatched       reason = "signer_key_was_uncompressed"
	signatureInvalid      reason = "signature_does_not_verify"
	signatureMatchesNoKey reason = "signature_matches_no_eligible_key"
)

// refusal is the rest of an envelope. Field is set where one input is at fault.
type refusal struct {
	status               int
	code, field, message string
}

// refusals holds every reason once: a second entry would not compile. Messages
// never quote the request, which may hold tokens and signatures.
var refusals = map[reason]refusal{
	pathUnknown:      {404, codeReferenceNotFound, "", "There is nothing at this path."},
	pathUnserved:     {501, codeNotImplemented, "", "Grid has this, the simulator has not."},
	methodNotAllowed: {405, codeMethodNotAllowed, "", "This path does not take this method; Allow lists those it does."},

	credentialsMissing:   {401, codeUnauthorized, "", "Basic credentials are missing."},
	credentialsMalformed: {401, codeUnauthorized, "", "Authorization is not one well-formed Basic header."},
	credentialsWrong:     {401, codeUnauthorized, "", "The client id or the client secret is wrong."},

	bodyUnreadable:     {400, codeInvalidInput, "", "The request body could not be read."},
	bodyTooLarge:       {400, codeInvalidInput, "", "The request body is over 64 KiB."},
	bodyNotObject:      {400, codeInvalidInput, "", "The request body is not a JSON object in UTF-8."},
	bodyFieldDuplicate: {400, codeInvalidInput, "", "A field occurs twice in the request body."},
	bodyUnexpected:     {400, codeInvalidInput, "", "This request takes no body."},
	contentTypeWrong:   {400, codeInvalidInput, "", "Content-Type must be application/json."},
	queryMalformed:     {400, codeInvalidInput, "", "The query string is malformed."},
	accountIDMissing:   {400, codeInvalidInput, "accountId", "accountId is required."},
	accountIDRepeated:  {400, codeInvalidInput, "accountId", "accountId must occur once."},
	accountIDMalformed: {400, codeInvalidInput, "accountId", "accountId must read InternalAccount:<uuid>."},
	advanceInvalid:     {400, codeInvalidInput, "advanceSeconds", "advanceSeconds must be a positive integer, ten years in all."},

	sessionIDMalformed:    {400, codeInvalidInput, "id", "A session id must read Session:<uuid>."},
	sessionNotActive:      {404, codeReferenceNotFound, "", "There is no active session with this id."},
	sessionUnknown:        {404, codeReferenceNotFound, "", "There never was a session with this id."},
	sessionEnded:          {401, codeUnauthorized, "", "The session is no longer active: sign in again."},
	credentialIDMalformed: {400, codeInvalidInput, "id", "A credential id must read AuthMethod:<uuid>."},
	credentialUnknown:     {404, codeReferenceNotFound, "", "There is no credential with this id."},
	accountUnknown:        {404, codeReferenceNotFound, "", "There is no account with this id."},

	typeMissing:         {400, codeInvalidInput, "type", "type is required and must be a string."},
	typeUnknown:         {400, codeInvalidInput, "type", "type must be EMAIL_OTP, SMS_OTP, OAUTH or PASSKEY."},
	typeMismatch:        {400, codeInvalidInput, "type", "type is not the type of this credential."},
	clientKeyMissing:    {400, codeInvalidInput, "clientPublicKey", "clientPublicKey is required and must be a string."},
	clientKeyMalformed:  {400, codeInvalidInput, "clientPublicKey", "clientPublicKey must be a public key in hex: 66 digits, first 02 or 03, or 130, first 04."},
	clientKeyOffCurve:   {400, codeInvalidInput, "clientPublicKey", "clientPublicKey is not a point of an accepted curve."},
	otpBundleMissing:    {400, codeInvalidInput, "encryptedOtpBundle", "encryptedOtpBundle is required and must be a string."},
	assertionMalformed:  {400, codeInvalidInput, "assertion", "assertion must be an object with credentialId, clientDataJson, authenticatorData and signature, all strings."},
	tokenMissing:        {400, codeInvalidInput, "oidcToken", "oidcToken is required and must be a string."},
	tokenMalformed:      {400, codeInvalidInput, "oidcToken", "oidcToken is not a JWT."},
	tokenClaimMalformed: {400, codeInvalidInput, "oidcToken", "oidcToken needs aud (a string or a list of one), sub, and numeric iat and exp."},
	issuerUnsupported:   {400, codeInvalidInput, "oidcToken", "oidcToken is of an issuer that is not supported."},
	issuerMismatch:      {401, codeUnauthorized, "", "The token is of another issuer than the credential."},
	audienceMismatch:    {401, codeUnauthorized, "", "The token is for another audience than the credential."},
	subjectMismatch:     {401, codeUnauthorized, "", "The token is of another subject than the credential."},
	tokenStale:          {401, codeUnauthorized, "", "The token was issued more than 60 seconds ago."},
	tokenFromFuture:     {401, codeUnauthorized, "", "The token was issued in the future."},
	tokenExpired:        {401, codeUnauthorized, "", "The token has expired."},
	nonceMissing:        {401, codeUnauthorized, "", "The token has no nonce."},
	nonceMismatch:       {401, codeUnauthorized, "", "The nonce is not the lower-case hex SHA-256 of clientPublicKey as sent."},
	sessionsExhausted:   {429, codeRateLimited, "", "The account has too many active sessions."},

	attemptsExhausted: {429, codeRateLimited, "", "There were too many attempts to sign in with this credential."},
	signInUnserved:    {501, codeNotImplemented, "", "Grid had this in April 2026, the simulator has not: only OAUTH signs in."},
	challengeOfOAuth:  {400, codeInvalidInput, "", "An OAUTH credential has no challenge: it is verified in one call."},

	otpWrong:            {401, codeUnauthorized, "", "The code is wrong."},
	otpNotSent:          {401, codeUnauthorized, "", "No code was sent: ask for one."},
	otpLapsed:           {401, codeUnauthorized, "", "The code is too old: ask for a new one."},
	otpUsed:             {401, codeUnauthorized, "", "The code was used: ask for a new one."},
	otpTriedTooOften:    {401, codeUnauthorized, "", "There were too many wrong codes: ask for a new one."},
	otpSuperseded:       {401, codeUnauthorized, "", "The bundle is for an earlier code than the last one."},
	otpBundleMalformed:  {400, codeInvalidInput, "encryptedOtpBundle", "encryptedOtpBundle must be a text of a JSON object with encappedPublic and ciphertext, encoded once."},
	otpBundleNotHex:     {400, codeInvalidInput, "encryptedOtpBundle", "encappedPublic must be 130 hex digits, and ciphertext hex."},
	otpBundleOffCurve:   {400, codeInvalidInput, "encryptedOtpBundle", "encappedPublic is not an uncompressed point of P-256."},
	otpUndecryptable:    {401, codeUnauthorized, "", "The bundle does not open with the key that it was to be sealed to."},
	otpContentMalformed: {400, codeInvalidInput, "encryptedOtpBundle", "In the bundle must be a JSON object with otp_code and public_key, both strings."},
	otpKeyInvalid:       {400, codeInvalidInput, "encryptedOtpBundle", "public_key in the bundle is not a public key of an accepted curve in hex."},

	passkeyRequestIDMissing:      {401, codeRequestIDMissing, "", "A passkey signs in with the Request-Id of its challenge."},
	assertionNotBase64:           {400, codeInvalidInput, "assertion", "The fields of assertion must be unpadded base64url."},
	assertionClientDataMalformed: {400, codeInvalidInput, "assertion.clientDataJson", "clientDataJson is not a JSON object in UTF-8 with no field twice."},
	assertionAuthDataMalformed:   {400, codeInvalidInput, "assertion.authenticatorData", "authenticatorData does not have the layout of WebAuthn."},
	assertionOfAnother:           {401, codeUnauthorized, "", "The assertion is by another passkey than the credential's."},
	assertionOfAnotherType:       {401, codeUnauthorized, "", "The type in clientDataJson must be webauthn.get."},
	assertionChallengeMismatch:   {401, codeUnauthorized, "", "clientDataJson is not of this challenge: the bytes to sign are those of its 64 characters."},
	assertionOriginWrong:         {401, codeUnauthorized, "", "The origin in clientDataJson is not one where this passkey may be used."},
	assertionForAnotherRP:        {401, codeUnauthorized, "", "rpIdHash is not the one that the passkey was registered with."},
	assertionUserAbsent:          {401, codeUnauthorized, "", "The flag that a user was present is not set in the assertion."},
	assertionSignatureInvalid:    {401, codeUnauthorized, "", "The signature of the assertion does not verify."},
	assertionCounterRegress:      {401, codeUnauthorized, "", "The signature counter did not go up: there may be a clone of the passkey."},

	exportKeyCompressed: {400, codeInvalidInput, "clientPublicKey", "For an export clientPublicKey must be uncompressed."},
	walletIDMalformed:   {400, codeInvalidInput, "id", "An account id must read InternalAccount:<uuid>."},

	emailOTPExists:          {400, codeEmailOTPExists, "", "The account has an EMAIL_OTP credential."},
	smsOTPExists:            {400, codeSMSOTPExists, "", "The account has an SMS_OTP credential."},
	identityExists:          {400, codeInvalidInput, "oidcToken", "The account has a credential of this identity."},
	passkeyExists:           {400, codePasskeyExists, "", "There is a credential of this passkey."},
	registrationUsed:        {400, codeInvalidInput, "challenge", "The challenge has registered a passkey before."},
	credentialsExhausted:    {400, codeInvalidInput, "", "The account has too many credentials."},
	lastCredential:          {400, codeInvalidInput, "", "This is the only credential of the account."},
	nicknameInvalid:         {400, codeInvalidInput, "nickname", "nickname must be 1 to 100 letters, digits, spaces and . _ - ' ( )."},
	registrationMalformed:   {400, codeInvalidInput, "challenge", "challenge is required and must be unpadded base64url."},
	registrationMismatch:    {400, codeInvalidInput, "attestation.clientDataJson", "clientDataJson is of another challenge."},
	attestationMissing:      {400, codeInvalidInput, "attestation", "attestation must be an object with credentialId, clientDataJson and attestationObject, all unpadded base64url."},
	transportsInvalid:       {400, codeInvalidInput, "attestation.transports", "transports must be a list of usb, nfc, ble, internal and hybrid."},
	clientDataMalformed:     {400, codeInvalidInput, "attestation.clientDataJson", "clientDataJson is not a JSON object in UTF-8."},
	clientDataOfAnotherType: {400, codeInvalidInput, "attestation.clientDataJson", "The type in clientDataJson must be webauthn.create."},
	originInvalid:           {400, codeInvalidInput, "attestation.clientDataJson", "The origin in clientDataJson must be https, or http on localhost."},
	attestationMalformed:    {400, codeInvalidInput, "attestation.attestationObject", "attestationObject is not an attestation object in CBOR."},
	authDataMalformed:       {400, codeInvalidInput, "attestation.attestationObject", "authData does not have the layout of WebAuthn."},
	relyingPartyMismatch:    {400, codeInvalidInput, "attestation.attestationObject", "rpIdHash is of neither the origin's host nor a parent domain."},
	userAbsent:              {400, codeInvalidInput, "attestation.attestationObject", "The flag that a user was present is not set."},
	attestedDataMissing:     {400, codeInvalidInput, "attestation.attestationObject", "authData has no attested credential data."},
	passkeyIDMismatch:       {400, codeInvalidInput, "attestation.credentialId", "credentialId is not the one in authData."},
	passkeyKeyInvalid:       {400, codeInvalidInput, "attestation.attestationObject", "The public key is not a valid COSE key of a supported algorithm."},
	attestationInvalid:      {400, codeInvalidInput, "attestation.attestationObject", "The attestation statement does not verify."},

	requestIDRepeated: {400, codeInvalidInput, "", "Request-Id must occur once."},
	requestIDMissing:  {401, codeRequestIDMissing, "", "Grid-Wallet-Signature was sent without Request-Id."},
	signatureMissing:  {401, codeSignatureMissing, "", "Request-Id was sent without Grid-Wallet-Signature."},

	signatureRepeated:    {401, codeMalformed, "", "Grid-Wallet-Signature must occur once."},
	signatureTooLong:     {401, codeMalformed, "", "The signature header is over 4 KiB."},
	stampNotBase64:       {401, codeMalformed, "", "The stamp is not unpadded base64url."},
	stampNotObject:       {401, codeMalformed, "", "The stamp is not a JSON object in UTF-8."},
	stampEscaped:         {401, codeMalformed, "", "The stamp has escapes in its JSON."},
	stampFieldDuplicate:  {401, codeMalformed, "", "The stamp has a field twice."},
	stampFieldMissing:    {401, codeMalformed, "", "The stamp needs publicKey, scheme and signature, all strings."},
	stampFieldExtra:      {401, codeMalformed, "", "The stamp has a field too many."},
	stampSchemeUnknown:   {401, codeMalformed, "", "The scheme of the stamp is not accepted."},
	stampKeyMalformed:    {401, codeMalformed, "", "The public key of the stamp is not a compressed key in lower-case hex."},
	stampKeyOffCurve:     {401, codeMalformed, "", "The public key of the stamp is not on the curve of its scheme."},
	stampSignatureNotHex: {401, codeMalformed, "", "The signature of the stamp is not lower-case hex."},
	derNotBase64:         {401, codeMalformed, "", "The signature is not standard base64."},
	derMalformed:         {401, codeMalformed, "", "The signature is not a DER ECDSA signature."},
	derOutOfRange:        {401, codeMalformed, "", "r or s is zero or not below the order of the curve."},

	challengeUnknown:     {401, codeUnauthorized, "", "Request-Id is of no challenge."},
	challengeElsewhere:   {401, codeUnauthorized, "", "Request-Id is of a challenge for another request."},
	challengeConsumed:    {401, codeUnauthorized, "", "The challenge was already used."},
	challengeExpired:     {401, codeUnauthorized, "", "The challenge has expired."},
	processingOtherStamp: {401, codeInvalid, "", "This request is being processed with another signature."},
	boundBodyDiffers:     {401, codeBodyMismatch, "", "The body is not the one that the challenge was issued for."},

	signerNotEligible:     {401, codeInvalid, "", "The key is not of an active session that may sign this."},
	signerUnmatched:       {401, codeInvalid, "", "The session's key was sent uncompressed, and is looked for compressed."},
	signatureInvalid:      {401, codeInvalid, "", "The signature is not one of the payload by this key."},
	signatureMatchesNoKey: {401, codeInvalid, "", "The signature is not one of the payload by any key that may sign this."},
}

// envelope is the answer to a failed request.
func (s *Sim) envelope(err error) reply {
	why, _ := errors.AsType[reason](err)
	r, ok := refusals[why]
	if !ok { // a fault of the simulator's own
		return reply{http.StatusInternalServerError, map[string]any{
			"status": http.StatusInternalServerError, "code": codeInternal, "message": "Internal error.",
		}}
	}
	switch {
	case r.status == http.StatusNotFound:
		r.code = s.cfg.NotFoundCode
	case r.status == http.StatusUnauthorized && s.cfg.Profile == Legacy202604:
		r.code = codeUnauthorized // the finer codes are of May 2026
	}
	body := map[string]any{"status": r.status, "code": r.code, "message": r.message}
	details := make(map[string]any)
	if r.field != "" {
		details["errors"] = []map[string]string{{"field": r.field, "message": r.message}}
	}
	if s.cfg.ReasonAt != ReasonAtTop {
		details["reason"] = why
	}
	if s.cfg.ReasonAt != ReasonInDetails {
		body["reason"] = why
	}
	if len(details) > 0 {
		body["details"] = details
	}
	return reply{r.status, body}
}
