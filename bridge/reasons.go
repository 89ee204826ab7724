package bridge

import "gridsigner/bridge/internal/outbound"

// Reason says why a request was refused, or why something failed beside any request,
// in a word of a closed set: it is logged and counted, and never shown to a client. As
// an error it is what an Authenticate function says of its refusal.
type Reason string

func (r Reason) Error() string { return string(r) }

// What an adapter may say of a user whom it does not let in.
const (
	ReasonNoToken         Reason = "no-token"
	ReasonTokenForm       Reason = "token-form"
	ReasonTokenAlgorithm  Reason = "token-algorithm"
	ReasonTokenType       Reason = "token-type"
	ReasonTokenKey        Reason = "token-key"
	ReasonTokenSignature  Reason = "token-signature"
	ReasonTokenIssuer     Reason = "token-issuer"
	ReasonTokenAudience   Reason = "token-audience"
	ReasonTokenExpired    Reason = "token-expired"
	ReasonTokenEarly      Reason = "token-early"
	ReasonTokenBound      Reason = "token-bound"
	ReasonClaimMissing    Reason = "claim-missing"
	ReasonClaimForm       Reason = "claim-form"
	ReasonTooManyAccounts Reason = "too-many-accounts"
	ReasonUserID          Reason = "user-id"
	ReasonAppRefused      Reason = "app-refused"
	ReasonAppStatus       Reason = "app-status"
	ReasonAppAnswer       Reason = "app-answer"
	ReasonAppBusy         Reason = "app-busy"
)

// What can become of a call of anybody's: to Grid, to an issuer, to an app, to Redis.
const (
	ReasonTimeout  = Reason(outbound.Timeout)
	ReasonDNS      = Reason(outbound.DNS)
	ReasonRefused  = Reason(outbound.Refused)
	ReasonTLS      = Reason(outbound.TLS)
	ReasonHungUp   = Reason(outbound.HungUp)
	ReasonCanceled = Reason(outbound.Canceled)
	ReasonNotFound = Reason(outbound.NotFound)
	ReasonDenied   = Reason(outbound.Denied)
	ReasonUnknown  = Reason(outbound.Unknown)
)

// What else can be wrong with what was read beside a request: a key set, the
// credentials, a value in Redis.
const (
	ReasonStatus    Reason = "status"
	ReasonNotJSON   Reason = "not-json"
	ReasonForm      Reason = "form"
	ReasonPassword  Reason = "password"
	ReasonForbidden Reason = "forbidden"
	ReasonForged    Reason = "forged"
	ReasonBusy      Reason = "busy"
)

// What the bridge itself finds.
const (
	reasonNoRoute          Reason = "no-route"
	reasonMethod           Reason = "method"
	reasonOtherSite        Reason = "other-site"
	reasonNoHeader         Reason = "no-header"
	reasonID               Reason = "id"
	reasonQuery            Reason = "query"
	reasonHeaders          Reason = "headers"
	reasonHalfAPair        Reason = "half-a-pair"
	reasonBody             Reason = "body"
	reasonBodySize         Reason = "body-size"
	reasonContentType      Reason = "content-type"
	reasonNoAccounts       Reason = "no-accounts"
	reasonNotTheirs        Reason = "not-theirs"
	reasonNoChallenge      Reason = "no-challenge"
	reasonOtherRequest     Reason = "other-request"
	reasonSignatureForm    Reason = "signature-form"
	reasonSignature        Reason = "signature"
	reasonReplay           Reason = "replay"
	reasonLimitAddress     Reason = "limit-address"
	reasonLimitNetwork     Reason = "limit-network"
	reasonLimitUser        Reason = "limit-user"
	reasonLimitSignIn      Reason = "limit-sign-in"
	reasonLimitAttempts    Reason = "limit-attempts"
	reasonLimitChallenges  Reason = "limit-challenges"
	reasonLimitGrid        Reason = "limit-grid"
	reasonInFlight         Reason = "in-flight"
	reasonClientGone       Reason = "client-gone"
	reasonPanic            Reason = "panic"
	reasonAudit            Reason = "audit"
	reasonCredentials      Reason = "credentials"
	reasonTooLarge         Reason = "too-large"
	reasonOtherAccount     Reason = "other-account"
	reasonUnexpected       Reason = "unexpected"
	reasonEcho             Reason = "echo"
	reasonChallengeForm    Reason = "challenge-form"
	reasonChallengePayload Reason = "challenge-payload"
)
