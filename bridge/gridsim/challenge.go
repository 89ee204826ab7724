package gridsim

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// maxChallenges is how many challenges one resource keeps, spent and expired
// ones included so that they can be told from unknown ones. One more pushes out
// the oldest.
const maxChallenges = 32

// operation is what an endpoint asks of the signed retry.
type operation struct {
	resource   string // method and path: what a challenge is good for
	kind       string // "type" of the challenge
	account    *account
	activity   string // activity type and parameters: what is to be signed
	parameters any
	signers    []*session
	apply      func() reply
}

// challenge is a payload that waits for its signature.
type challenge struct {
	requestID string
	resource  string
	body      [sha256.Size]byte // of leg 1; leg 2 must be equal
	payload   string
	expires   time.Time
	spent     bool

	// Once a signed request was accepted but is answered with PROCESSING: its
	// signature header, and how many such answers it got.
	accepted string
	replies  int
}

// challengeBook holds the challenges of all resources.
type challengeBook struct {
	byRequestID map[string]*challenge
	byResource  map[string][]*challenge // oldest first
}

func newChallengeBook() challengeBook {
	return challengeBook{make(map[string]*challenge), make(map[string][]*challenge)}
}

func (b challengeBook) add(c *challenge) {
	pending := append(b.byResource[c.resource], c)
	if len(pending) > maxChallenges {
		// One in process goes last: its resends must find it.
		oldest := max(0, slices.IndexFunc(pending[:maxChallenges], func(c *challenge) bool { return c.accepted == "" }))
		delete(b.byRequestID, pending[oldest].requestID)
		pending = slices.Delete(pending, oldest, oldest+1)
	}
	b.byRequestID[c.requestID] = c
	b.byResource[c.resource] = pending
}

// forget drops the challenges of a resource that is gone.
func (b challengeBook) forget(resource string) {
	for _, c := range b.byResource[resource] {
		delete(b.byRequestID, c.requestID)
	}
	delete(b.byResource, resource)
}

// match finds the challenge that a signed request answers. One in process does
// not expire, nor does it stand in the way of another: a client that lost the
// answer must be able to start again from leg 1.
func (b challengeBook) match(requestID, resource string, now time.Time) (*challenge, error) {
	c := b.byRequestID[requestID]
	switch {
	case c == nil:
		return nil, challengeUnknown
	case c.resource != resource:
		return nil, challengeElsewhere
	case c.spent:
		return nil, challengeConsumed
	case c.accepted == "" && !now.Before(c.expires):
		return nil, challengeExpired
	}
	return c, nil
}

// signedRetry runs one leg. Without the two headers it issues a challenge;
// every call issues another one, and the earlier ones stay good. With them it
// checks the signature and applies the operation. A challenge is good for one
// success; a failure spends it only if so configured.
func (s *Sim) signedRetry(req request, headers signatureHeaders, op operation) (reply, error) {
	switch {
	case headers.absent():
		return s.issue(req, op), nil
	case headers.requestID == "":
		return reply{}, requestIDMissing
	case headers.signatureRepeated:
		return reply{}, signatureRepeated
	case headers.signature == "":
		return reply{}, signatureMissing
	}
	sig, err := s.parseSignature(headers.signature)
	if err != nil {
		return reply{}, err
	}
	c, err := s.challenges.match(headers.requestID, op.resource, req.now)
	if err != nil {
		return reply{}, err
	}
	if err := s.checkLeg(c, req, headers, sig, op.signers); err != nil {
		c.spent = s.cfg.ConsumeOnFailure && c.accepted == ""
		return reply{}, err
	}
	if c.replies < s.cfg.ProcessingReplies {
		c.accepted = headers.signature
		c.replies++
		return reply{http.StatusOK, map[string]string{"status": "PROCESSING"}}, nil
	}
	c.spent = true
	return op.apply(), nil
}

// checkLeg checks leg 2 against its challenge. A request that was accepted
// before is known by its bytes and not judged again: its signer may be gone by
// now, the decision stands.
func (s *Sim) checkLeg(c *challenge, req request, headers signatureHeaders, sig walletSignature, signers []*session) error {
	if sha256.Sum256(req.body) != c.body {
		return boundBodyDiffers
	}
	if c.accepted != "" {
		if headers.signature != c.accepted {
			return processingOtherStamp
		}
		return nil
	}
	return s.checkSigner(sig, c.payload, signers)
}

// issue is leg 1.
func (s *Sim) issue(req request, op operation) reply {
	c := &challenge{
		requestID: uuid.NewString(),
		resource:  op.resource,
		body:      sha256.Sum256(req.body),
		expires:   expiry(req.now, s.cfg.ChallengeTTL),
	}
	if s.cfg.Profile == Legacy202604 {
		c.payload = opaquePayload()
	} else {
		c.requestID = "Request:" + c.requestID
		c.payload = s.activityPayload(req.now, op)
	}
	s.challenges.add(c)
	return reply{http.StatusAccepted, struct {
		Type          string `json:"type"`
		PayloadToSign string `json:"payloadToSign"`
		RequestID     string `json:"requestId"`
		ExpiresAt     string `json:"expiresAt"`
	}{op.kind, c.payload, c.requestID, timestamp(c.expires)}}
}

// activityPayload is the payload of today: compact JSON, keys sorted at every
// level.
func (s *Sim) activityPayload(now time.Time, op operation) string {
	// Two challenges of the same millisecond would have the same payload, and a
	// signature for one would do for the other.
	s.lastStampMs = max(s.lastStampMs+1, now.UnixMilli())
	payload, _ := json.Marshal(struct { // of strings: cannot fail
		OrganizationID string `json:"organizationId"`
		Parameters     any    `json:"parameters"`
		TimestampMs    string `json:"timestampMs"`
		Type           string `json:"type"`
	}{op.account.organizationID, op.parameters, strconv.FormatInt(s.lastStampMs, 10), op.activity})
	return string(payload)
}

// opaquePayload is a payload of April 2026: base64 that means nothing. It is 32
// bytes long so that it ends in padding: what is signed is this text, and a
// client that decodes or trims it fails.
func opaquePayload() string {
	var raw [32]byte
	rand.Read(raw[:]) // never fails
	return base64.StdEncoding.EncodeToString(raw[:])
}
