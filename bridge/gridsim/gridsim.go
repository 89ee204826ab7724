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
//	POST   /auth/credentials/{id}/verify       OAUTH only
//	POST   /_sim/clock                         only with [Config.Control]
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
// Basic credentials; body, Content-Type, JSON and header shape; grammar of the
// id in the path; existence; pairing of the two signature headers; form of the
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
// Signing in with a code or a passkey, delegated keys and export are not served:
// such credentials can be added and removed, and no more. Every account has the
// same customer, with one e-mail address and one phone number. OIDC tokens follow
// Grid's sandbox rules, which check every claim and leave the token's own
// signature unchecked, and of an attestation only the statement is checked, not
// who vouches for it: never mistake this for authentication.
package gridsim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
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

	// Now is the clock. It must be safe for concurrent use. Nil: time.Now.
	Now func() time.Time

	// AllowMagic accepts the sandbox value "sandbox-valid-signature" in place of
	// a signature, in both profiles, though Grid documents it only since the day
	// that stamps came: 27 April 2026.
	AllowMagic bool

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

	// ProcessingReplies is how often a valid signed request is answered with
	// 200 {"status":"PROCESSING"} before it takes effect. It must be resent as it
	// was, and its last answer is then given to every further resend.
	ProcessingReplies int

	// ProcessingTime is when such a request takes effect by itself if it is not
	// resent, counted from its last answer. Zero: 10 seconds.
	ProcessingTime time.Duration

	// RateLimit is how many attempts a minute there can be to sign in with one
	// credential, and how many at once. Zero: any number.
	RateLimit int

	// ConsumeOnFailure spends a challenge also on a signed request that names it
	// and then fails on its body, signer or signature.
	ConsumeOnFailure bool

	// Control enables POST /_sim/clock {"advanceSeconds":N}, behind the same
	// credentials: it moves the simulator's clock forward, so that tests of other
	// processes can expire challenges and sessions without waiting.
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
}

// The seeded account and credential have the same ids in every simulator, so
// that a test, a script or a page in the README can spell them out.
const (
	seedAccountID    = "InternalAccount:019542f5-b3e7-7d02-8000-000000000001"
	seedCredentialID = "AuthMethod:019542f5-b3e7-7d02-8000-000000000002"
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

	quorum *ecdsa.PrivateKey // signs the targets of one-time codes

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
	quorum, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("gridsim: %w", err)
	}
	s := &Sim{
		quorum:       quorum,
		cfg:          cfg,
		curves:       []*curve{p256, k256},
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
	return s, nil
}

func (c Config) validate() error {
	switch {
	case c.Profile != Modern && c.Profile != Legacy202604:
		return fmt.Errorf("unknown profile %q", c.Profile)
	case c.ChallengeTTL < 0 || c.SessionTTL < 0 || c.ProcessingTime < 0:
		return errors.New("a lifetime or the processing time is negative")
	case c.ReasonAt != ReasonInDetails && c.ReasonAt != ReasonAtTop && c.ReasonAt != ReasonInBoth:
		return fmt.Errorf("unknown place %q for the reason", c.ReasonAt)
	case c.ProcessingReplies < 0:
		return errors.New("the number of processing replies is negative")
	case c.RateLimit < 0:
		return errors.New("the rate limit is negative")
	case strings.ContainsRune(c.ClientID, ':'):
		return errors.New("the client id has a colon, which Basic authentication cannot carry")
	}
	return nil
}

// Seed returns the credentials, the account and the OAUTH credential that the
// simulator was made with.
func (s *Sim) Seed() Seed {
	return Seed{
		ClientID:     s.cfg.ClientID,
		ClientSecret: s.cfg.ClientSecret,
		AccountID:    seedAccountID,
		CredentialID: seedCredentialID,
		OIDC:         seedIdentity,
	}
}
