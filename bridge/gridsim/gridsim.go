// Package gridsim is a strict simulator of Lightspark Grid's auth endpoints,
// so that everything that talks to Grid can be run and tested with no network
// and no account.
//
// It serves, below Grid's version prefix:
//
//	GET    /auth/sessions?accountId=
//	DELETE /auth/sessions/{id}                 signed
//	POST   /auth/sessions/{id}/refresh         signed; not in the legacy profile
//	GET    /auth/credentials?accountId=
//	POST   /auth/credentials                   signed; OAUTH, EMAIL_OTP, SMS_OTP and PASSKEY
//	DELETE /auth/credentials/{id}              signed
//	POST   /auth/credentials/{id}/challenge    EMAIL_OTP, SMS_OTP and PASSKEY
//	POST   /auth/credentials/{id}/verify       signed for EMAIL_OTP and SMS_OTP
//	POST   /internal-accounts/{id}/export      signed
//	POST   /_sim/clock                         only with Config.Control
//	GET    /_sim/inbox                         only with Config.Control
//
// What is signed takes two requests, the second of which carries the signature:
// Grid's signed retry. All else that Grid has is 501, since clients take a 404
// to say that a thing is gone.
//
// # Independence
//
// The simulator decides by itself what a valid signature is: it has its own
// stamp and DER parsers and calls crypto/ecdsa and dcrd's secp256k1 directly.
// It imports nothing of this module, so that one mistake cannot hide on both
// sides of a test.
//
// # Order of checks
//
// The first failing check answers, always in this order: route and method;
// Basic credentials; body, Content-Type, JSON and header shape, this one later
// where the type of a credential says which headers count; grammar of the id in
// the path; existence; how often; pairing of the two signature headers; form of the
// signature; the Request-Id; what stands in the way of the operation, such as a
// second EMAIL_OTP, which the first leg asks too; the body bound to the
// Request-Id; the signer and the signature. Every refusal is Grid's error
// envelope and carries a reason that no other cause shares (errors.go is the
// list).
//
// # Which curve a key is on
//
// A compressed P-256 key and a compressed secp256k1 key look alike: 33 bytes,
// an x and a parity. A client key is accepted if its x lies on an allowed
// curve. About half of all keys have an x that lies on both; both readings then
// stay open, and the scheme of a stamp picks one. A legacy signature names no
// key and no scheme: it is tried against every eligible key on every curve that
// the key can be on. This gives nothing away, because whoever owns the key on
// one curve does not know the private key of its namesake on the other. It does
// mean that a stamp with the other curve's scheme is
// WALLET_SIGNATURE_MALFORMED when x is off that curve and
// WALLET_SIGNATURE_INVALID when it is not. An uncompressed client key is P-256:
// what Grid seals, it seals to that.
//
// # Not simulated
//
// A key may start any number of sessions: Grid's guides want a new pair for
// each, but do not say that a used one is refused. A compressed clientPublicKey
// is taken in the legacy profile too, though in April 2026 Grid made the keys of
// all sessions.
//
// Other platforms: there is one, so nothing here belongs to another.
//
// Delegated keys are not served. In the legacy profile only OAUTH signs in: codes
// came back in the clear then, and the challenge of a passkey was another. Only
// signed requests, sign-ins with a passkey and requests for a code are ever
// answered with PROCESSING.
//
// Every account has the same customer, with one e-mail address and one phone
// number, at which nothing arrives: [Config.Send] gets the codes. Its mnemonic is
// one that everybody knows. OIDC tokens follow Grid's sandbox rules, which check
// every claim and leave the token's own signature unchecked, and of an attestation
// only the statement is checked, not who vouches for it: never mistake this for
// authentication.
//
// # Sources
//
// What is simulated is what Grid's API reference and its guides said in August
// 2026, and in April for the legacy profile: their source, with its history, is
// github.com/lightsparkdev/grid-api. What is sealed is sealed as Turnkey does,
// whose enclaves Grid uses: github.com/tkhq/sdk. Where these say nothing the
// simulator is strict, or [Config] has a field for what Grid may do.
package gridsim

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Profile selects the generation of Grid's contract that is simulated.
type Profile string

const (
	// Modern is Grid since May 2026: the payload is a JSON activity, request
	// ids read Request:<uuid>, signatures are stamps and a 401 says what was
	// wrong with them in its code.
	Modern Profile = "modern"

	// Legacy202604 is Grid in April 2026: the payload is opaque base64, request
	// ids are bare UUIDs, signatures are base64 DER, and every 401 has the code
	// UNAUTHORIZED.
	Legacy202604 Profile = "legacy-2026-04"
)

// DefaultNotFoundCode is the code of a 404 unless [Config] has another.
const DefaultNotFoundCode = "REFERENCE_NOT_FOUND"

// ReasonPlace says where an error envelope carries its reason. Grid documents
// that there is one, but no schema has a place for it.
type ReasonPlace string

const (
	ReasonInDetails ReasonPlace = "details"   // details.reason
	ReasonAtTop     ReasonPlace = "top-level" // reason
	ReasonInBoth    ReasonPlace = "both"
)

// Config describes a simulator. The zero value is a strict one of today's
// contract, with random credentials.
type Config struct {
	Profile Profile // empty: Modern

	// ClientID and ClientSecret are the API credentials that requests must
	// carry. Whichever is empty is made up by New; see [Sim.Seed].
	ClientID, ClientSecret string

	// P256Only refuses secp256k1 client keys and their scheme, as Grid's guides,
	// which know P-256 only, suggest that Grid does.
	P256Only bool

	ChallengeTTL time.Duration // zero: 5 minutes
	SessionTTL   time.Duration // zero: 15 minutes
	OTPTTL       time.Duration // of a code; zero: 300 seconds

	// Now is the clock. It must be safe for concurrent use. Nil: time.Now.
	Now func() time.Time

	// AllowMagic accepts the values of Grid's sandbox: "sandbox-valid-signature"
	// in place of a signature by a session, in both profiles, though Grid documents
	// it only since the day that stamps came, 27 April 2026; the code 000000, once
	// one was sent; and "sandbox-valid-passkey-signature" as the signature of an
	// assertion, whatever else is in that.
	AllowMagic bool

	// SeedEmailOTP has the account begin with an EMAIL_OTP credential too, as Grid's
	// do.
	SeedEmailOTP bool

	// Send is told of each code that is sent. It must not call the simulator, which
	// waits for it. Nil: nobody is, but see Control.
	Send func(Message)

	// RPID and Origins are those of the pages on which passkeys may be used. Empty:
	// every origin where a browser allows them, which is https, or http on
	// localhost, with a name; and its host, or a parent of that, as the rpId.
	RPID    string
	Origins []string

	// ProdStrict is as strict as Grid's production about an uncompressed public_key
	// in the bundle of a code. There the key is taken, and signs to end the sign-in;
	// but sessions are found by compressed keys alone, so that whatever the session
	// is then to sign is refused. Grid's sandbox takes both forms.
	ProdStrict bool

	// SandboxExport leaves the signature and the signer of an export empty, as Grid's
	// sandbox does.
	SandboxExport bool

	// LenientStamp accepts padding, upper-case hex, extra fields and escapes in a
	// stamp.
	LenientStamp bool

	// AcceptLegacyDER accepts a base64 DER signature besides a stamp in the
	// Modern profile.
	AcceptLegacyDER bool

	// NotFoundCode is the code of every 404. Empty: DefaultNotFoundCode. Grid
	// documents no code for a missing session; clients must not depend on it.
	NotFoundCode string

	ReasonAt ReasonPlace // empty: ReasonInDetails

	// ProcessingReplies is how often a valid signed request, or a sign-in with a
	// passkey, is answered with 200 {"status":"PROCESSING"} before it takes effect.
	// It must be resent as it was, and its last answer is then given to every further
	// resend; that of an export only once. A request for a code is answered so too,
	// and has its effect with the answer.
	ProcessingReplies int

	// ProcessingTime is when what was accepted takes effect by itself if it is not
	// resent, counted from its last answer. Zero: 10 seconds.
	ProcessingTime time.Duration

	// RateLimit is how many requests a minute there can be to sign in with one
	// credential, for a challenge or to verify, and how many at once. Zero: any
	// number.
	RateLimit int

	// ConsumeOnFailure spends a challenge also on a signed request that names it
	// and then fails on its body, signer or signature.
	ConsumeOnFailure bool

	// Control enables, behind the same credentials, what tests of other processes
	// need. POST /_sim/clock {"advanceSeconds":N} moves the simulator's clock forward,
	// so that challenges and sessions expire without waiting. GET /_sim/inbox lists
	// the codes that were sent last, oldest first: {"data":[{"credentialId","to","code"}]}.
	Control bool
}

// OIDCIdentity is what an OAUTH credential is registered for. A token signs in
// only if all three of its claims are equal.
type OIDCIdentity struct {
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	Subject  string `json:"sub"`
}

// Seed is what a client must know to use the simulator. It holds the client
// secret: print it for the person who started the simulator, and nowhere else.
type Seed struct {
	ClientID     string       `json:"clientId"`
	ClientSecret string       `json:"clientSecret"`
	AccountID    string       `json:"accountId"`
	CredentialID string       `json:"credentialId"`
	OIDC         OIDCIdentity `json:"oidc"`

	// EmailCredentialID is the EMAIL_OTP credential of [Config.SeedEmailOTP], or "".
	EmailCredentialID string `json:"emailCredentialId,omitempty"`

	// OTPSigner and ExportSigner are the keys, uncompressed and in hex, that vouch
	// for the targets of codes and for exports: what a client is to pin.
	OTPSigner    string `json:"otpSigner"`
	ExportSigner string `json:"exportSigner"`
}

// The seeded account and credentials have the same ids in every simulator, so
// that a test, a script or a page in the README can spell them out.
const (
	seedAccountID    = "InternalAccount:019542f5-b3e7-7d02-8000-000000000001"
	seedCredentialID = "AuthMethod:019542f5-b3e7-7d02-8000-000000000002"

	seedEmailCredentialID = "AuthMethod:019542f5-b3e7-7d02-8000-000000000003"
)

var seedIdentity = OIDCIdentity{
	Issuer:   "https://accounts.google.com",
	Audience: "gridsim.apps.example.com",
	Subject:  "100000000000000000001",
}

// Sim is the simulator: an [http.Handler] for the paths below Grid's version
// prefix. It keeps everything in memory, in bounded space, and is safe for
// concurrent use. Make one with [New].
type Sim struct {
	cfg    Config
	curves []*curve
	pages  pages

	quorum   *enclave // vouches for the targets of codes, and for codes that were right
	exporter *enclave // vouches for exports

	// Hashes, so that comparing takes the same time whatever the lengths are.
	clientID, clientSecret [sha256.Size]byte

	mu            sync.Mutex // guards what follows
	offset        time.Duration
	accounts      map[string]*account
	credentials   map[string]*credential
	registrations [][sha256.Size]byte // of used challenges of passkeys, oldest first
	sessions      map[string]*session // active ones
	ended         []*session          // the last ones that ended, oldest first
	challenges    challengeBook
	inbox         []Message // oldest first
	lastStampMs   int64
}

// New makes a simulator with one account and one OAUTH credential. It fails if
// the configuration cannot work. Given the same configuration it makes the same
// simulator, except for credentials that it has to make up and for keys.
func New(cfg Config) (*Sim, error) {
	if cfg.Profile == "" {
		cfg.Profile = Modern
	}
	if cfg.ChallengeTTL == 0 {
		cfg.ChallengeTTL = 5 * time.Minute
	}
	if cfg.SessionTTL == 0 {
		cfg.SessionTTL = 15 * time.Minute
	}
	if cfg.OTPTTL == 0 {
		cfg.OTPTTL = 300 * time.Second
	}
	if cfg.ProcessingTime == 0 {
		cfg.ProcessingTime = 10 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.NotFoundCode == "" {
		cfg.NotFoundCode = codeReferenceNotFound
	}
	if cfg.ReasonAt == "" {
		cfg.ReasonAt = ReasonInDetails
	}
	if cfg.ClientID == "" {
		cfg.ClientID = "sim-" + rand.Text()
	}
	if cfg.ClientSecret == "" {
		cfg.ClientSecret = rand.Text()
	}
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("gridsim: %w", err)
	}
	quorum, errQuorum := newEnclave()
	exporter, errExporter := newEnclave()
	if err := errors.Join(errQuorum, errExporter); err != nil {
		return nil, fmt.Errorf("gridsim: %w", err)
	}
	s := &Sim{
		cfg:          cfg,
		curves:       []*curve{p256, k256},
		pages:        pages{cfg.RPID, cfg.Origins},
		quorum:       quorum,
		exporter:     exporter,
		clientID:     sha256.Sum256([]byte(cfg.ClientID)),
		clientSecret: sha256.Sum256([]byte(cfg.ClientSecret)),
		accounts:     make(map[string]*account),
		credentials:  make(map[string]*credential),
		sessions:     make(map[string]*session),
		challenges:   newChallengeBook(),
	}
	if cfg.P256Only {
		s.curves = []*curve{p256}
	}
	seeded := s.addAccount(seedAccountID, "org_sim", "user_sim")
	s.keepCredential(&credential{
		id: seedCredentialID, kind: typeOAuth, nickname: customerEmail, account: seeded,
		payloadID: payloadID("credential_"), created: s.now(), identity: seedIdentity,
	})
	if cfg.SeedEmailOTP {
		s.keepCredential(&credential{
			id: seedEmailCredentialID, kind: typeEmailOTP, nickname: customerEmail, account: seeded,
			payloadID: payloadID("credential_"), created: s.now(),
		})
	}
	return s, nil
}

func (c Config) validate() error {
	switch {
	case c.Profile != Modern && c.Profile != Legacy202604:
		return fmt.Errorf("unknown profile %q", c.Profile)
	case c.ChallengeTTL < 0 || c.SessionTTL < 0 || c.OTPTTL < 0 || c.ProcessingTime < 0:
		return errors.New("a lifetime or the processing time is negative")
	case c.ReasonAt != ReasonInDetails && c.ReasonAt != ReasonAtTop && c.ReasonAt != ReasonInBoth:
		return fmt.Errorf("unknown place %q for the reason", c.ReasonAt)
	case c.ProcessingReplies < 0:
		return errors.New("the number of processing replies is negative")
	case isAddress(c.RPID):
		return fmt.Errorf("the rpId %q is an address, which browsers do not take for one", c.RPID)
	case slices.Contains(c.Origins, ""):
		return errors.New("an origin is empty")
	case c.RateLimit < 0:
		return errors.New("the rate limit is negative")
	case strings.ContainsRune(c.ClientID, ':'):
		return errors.New("the client id has a colon, which Basic authentication cannot carry")
	}
	return nil
}

// Seed returns the credentials, the account and the ways to sign in to it that
// the simulator was made with.
func (s *Sim) Seed() Seed {
	seed := Seed{
		ClientID:     s.cfg.ClientID,
		ClientSecret: s.cfg.ClientSecret,
		AccountID:    seedAccountID,
		CredentialID: seedCredentialID,
		OIDC:         seedIdentity,
		OTPSigner:    s.quorum.public,
		ExportSigner: s.exporter.public,
	}
	if s.cfg.SeedEmailOTP {
		seed.EmailCredentialID = seedEmailCredentialID
	}
	return seed
}
