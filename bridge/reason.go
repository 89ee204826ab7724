package bridge

import "gridsigner/bridge/internal/outbound"

// Reason says why a request was refused, or why something failed beside any request,
// in a word of a closed set: it is logged and counted, and never shown to a client. As
// an error it is what an Authenticate function says of its refusal.
type Reason string

// Error returns the word itself.
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
	reasonNotNamed         Reason = "account-not-named"
	reasonOwnership        Reason = "ownership"
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
	reasonLimitSignIns     Reason = "limit-sign-ins"
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
	reasonLookUp           Reason = "look-up"
	reasonNoCredential     Reason = "no-credential"
	reasonChallengeForm    Reason = "challenge-form"
	reasonChallengePayload Reason = "challenge-payload"
)

// An explanation says what a reason means and what an operator can do about it.
type explanation struct {
	reason    Reason
	means, do string
}

const (
	watch   = "nothing, unless there are many"
	attack  = "nothing, unless there are many: somebody tries"
	appBug  = "look at the app, or at who else calls"
	grid    = "ask Grid, with `gridRequestId` of the audit or the time"
	network = "look at the network, and at the other side"
	redis   = "look at Redis"
)

// explanations has every reason, for the README's table of them.
var explanations = []explanation{
	{reasonNoRoute, "a path that the bridge does not have", attack},
	{reasonMethod, "a path that it has, with another method", appBug},
	{reasonOtherSite, "a browser says that the page is of an origin that is not allowed", "is it a page of yours? Name its origin with `--allow-origin`; in front of a proxy, see that it keeps `Host`"},
	{reasonNoHeader, "no `X-Gridsigner: 1`", appBug},
	{reasonID, "the id is not one of the kind that the path takes", appBug},
	{reasonQuery, "not exactly the query that the path takes", appBug},
	{reasonHeaders, "a signature or a request id of another form, or twice", appBug},
	{reasonHalfAPair, "a signature without a request id, or the other way round", appBug},
	{reasonBody, "a body where none is taken, or not the one that is, or cut short", appBug},
	{reasonBodySize, "a body over 64 KiB", appBug},
	{reasonContentType, "a body that is not `application/json`", appBug},
	{ReasonNoToken, "neither a bearer token nor, with forward auth, a cookie", "nothing: somebody is not signed in to the app"},
	{ReasonTokenForm, "not a JWT of the compact form, or over 8 KiB", attack},
	{ReasonTokenAlgorithm, "an algorithm that is not taken: HMAC, `none`", attack},
	{ReasonTokenType, "a `typ` or `crit` of another kind of token", "has the app been given an id or logout token to send?"},
	{ReasonTokenKey, "no key of the issuer's set is the one that is named, or may be used; with 503 if the set could not be read just now", "has the issuer rotated its keys? Does `--jwks` name them? See `keys` in gridbridge_reloads_total"},
	{ReasonTokenSignature, "the signature is not by that key", attack},
	{ReasonTokenIssuer, "`iss` is none of `--issuer`", "compare it, to the last slash"},
	{ReasonTokenAudience, "`aud` has not `--audience` in it", "compare it: the app may ask its issuer for another audience"},
	{ReasonTokenExpired, "`exp` has passed", "nothing: the app renews it. If all are, look at this machine's clock"},
	{ReasonTokenEarly, "`nbf` or `iat` is yet to come", "look at the clocks of the issuer and of this machine"},
	{ReasonTokenBound, "the token is bound to a key (`cnf`), and so no bearer token", "have the issuer make bearer tokens for this audience"},
	{ReasonClaimMissing, "no `sub`, or no `exp`", "look at what the issuer puts into its tokens"},
	{ReasonClaimForm, "the accounts are not `InternalAccount:` ids", "look at `--accounts-claim`, or at what the app answers"},
	{ReasonTooManyAccounts, "more than 16 accounts", "look at what the issuer or the app says of this user"},
	{ReasonUserID, "a user id that is empty or over 255 bytes", "look at what the issuer or the app says of this user"},
	{ReasonAppRefused, "the app does not know the user (401, 403 or a redirect)", "nothing: somebody is not signed in to the app"},
	{ReasonAppStatus, "the app failed", "look at the app"},
	{ReasonAppAnswer, "the app's answer has no user in it, or says that its URL is another (301, 308)", "look at what its URL answers"},
	{ReasonAppBusy, "too many questions to the app are unanswered, altogether or of this client", "is the app slow? Do all users have one address (`--trusted-proxy`)? Else " + attack},
	{reasonNoAccounts, "the user has no account", "look at `--accounts-claim`, or at what the app answers"},
	{reasonNotNamed, "an id that is on no account of the user's list, and no `X-Gridsigner-Account` that names another of theirs", "have the app's page send that header, or list the account"},
	{reasonOwnership, "the app's function `Owns` failed", "look at the app"},
	{reasonNotTheirs, "what is named does not exist, or is another user's", attack},
	{reasonNoChallenge, "no challenge with this request id was issued to this user, or it has run out", "with several replicas: do they share a Redis?"},
	{reasonOtherRequest, "the challenge was issued for another request", attack},
	{reasonSignatureForm, "the signature has neither of its two forms", appBug},
	{reasonSignature, "the signature in the stamp is not of the challenge's payload", attack},
	{reasonReplay, "the signature has passed before", watch},
	{reasonLimitAddress, "`--limit-address`", "is it a proxy of yours? Name it with `--trusted-proxy`. A large office? Raise it"},
	{reasonLimitNetwork, "`--limit-network`", watch},
	{reasonLimitUser, "`--limit-user`", watch},
	{reasonLimitSignIn, "`--limit-sign-in`", attack},
	{reasonLimitSignIns, "`--limit-sign-ins`", "is it a proxy of yours? Name it with `--trusted-proxy`. A large office? Raise it"},
	{reasonLimitAttempts, "`--limit-attempts`", attack},
	{reasonLimitChallenges, "`--limit-challenges`", attack},
	{reasonLimitGrid, "`--limit-grid`: all users of this replica together", "raise it, if Grid gives you more"},
	{reasonInFlight, "`--max-in-flight`", "more replicas; is Grid, the app or Redis slow?"},
	{reasonClientGone, "the client hung up before the answer", watch},
	{reasonPanic, "a fault of the bridge's", "report it, with the line `panic` of the log"},
	{reasonAudit, "the audit takes no line, so nothing signed is sent", "is the disk of `--audit-log` full, or does nobody read stderr?"},
	{reasonCredentials, "Grid refused the API credentials", "change them; files are read again by themselves"},
	{ReasonStatus, "a status that is not relayed, or that a key set does not have", "look at the other side, and at proxies before it"},
	{ReasonNotJSON, "an answer that is not JSON", "look at the other side, and at proxies before it"},
	{reasonTooLarge, "an answer over 1 MiB", grid},
	{reasonOtherAccount, "Grid answered with what is of another account, or does not say of which", grid},
	{reasonUnexpected, "Grid's answer lacks what it must have", grid},
	{reasonEcho, "an error of Grid's repeats the API credentials", grid + "; change them"},
	{reasonLookUp, "Grid answered the look-up of an owner with 429 or 5xx, which the client was given", grid},
	{reasonNoCredential, "Grid lists neither a session nor a credential of the account, so that it is not known whether a session is over", "are the API credentials of the environment and the company that the account is of?"},
	{reasonChallengeForm, "Grid's challenge is not one", grid},
	{reasonChallengePayload, "Grid's challenge asks for something else than the request does", grid + ". Until then sign nothing"},
	{ReasonTimeout, "no answer in time", network},
	{ReasonDNS, "no such host", network},
	{ReasonRefused, "nobody listens there, or there is no way there", network},
	{ReasonTLS, "the certificate is not trusted, or there is no TLS", network},
	{ReasonHungUp, "the connection was closed before the answer", network},
	{ReasonCanceled, "nobody waits for it any more", watch},
	{ReasonNotFound, "the file is not there", "look at the file"},
	{ReasonDenied, "the file may not be read", "look at the file"},
	{ReasonForm, "what was read has not its form: no key set with a key that may be used, no credentials", "look at the file or the URL"},
	{ReasonPassword, "Redis refuses the password", redis},
	{ReasonForbidden, "Redis does not let the user do what a bridge needs", redis},
	{ReasonForged, "a value in Redis has not been written by a bridge with this key", redis + ": who else writes to it? Do all replicas have one `GRIDBRIDGE_KEY`?"},
	{ReasonBusy, "no connection to Redis was free in time, or it has answered nobody for a moment", "if `timeout` goes with it: " + redis + ". Else raise `--redis-pool`"},
	{ReasonUnknown, "something else", "look at the log around it"},
}
