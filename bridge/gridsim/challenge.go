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

// operation is one signed operation as a request asks for it. All that the
// endpoints differ in is in here: signedRetry does the rest.
type operation struct {
	account    *account
	kind       string // "type" of the challenge; empty where Grid has none
	activity   string // activity type and parameters: what is to be signed
	parameters map[string]any
	signers    []*session // whose keys may sign

	// token makes what is signed to sign in by a code, where activity is empty.
	// No sandbox value stands for such a signature: it is what shows that the
	// client has the key.
	token func(now time.Time) (string, error)

	once bool // the answer is not given a second time

	// check tells what stands in the way as things are. It is asked on both legs
	// and, of an operation that was left in process, when that takes effect.
	// Nil: nothing does.
	check func(now time.Time) error

	// apply does what was signed. It fails on a fault of the simulator only.
	apply func(now time.Time) (reply, error)
}

func (op operation) possible(now time.Time) error {
	if op.check == nil {
		return nil
	}
	return op.check(now)
}

// resource is what a challenge is good for.
type resource struct {
	target  string // method and path
	account *account
}

// challenge is a payload that waits for its signature.
type challenge struct {
	requestID string
	resource  resource
	body      [sha256.Size]byte // of leg 1; leg 2 must be equal
	payload   string
	key       clientKey // of the session that a passkey is to start
	expires   time.Time
	spent     bool

	// Once a signed request was accepted: what it asked for until that takes
	// effect, and then what became of it. Where there are PROCESSING answers its
	// signature header is kept, for resends to be known by.
	op       *operation
	once     bool // as of the operation
	answer   reply
	failure  error
	accepted string
	replies  int       // PROCESSING answers so far
	settles  time.Time // when it takes effect if nobody asks again
}

// challengeBook holds the challenges of all resources.
type challengeBook struct {
	byRequestID map[string]*challenge
	byResource  map[resource][]*challenge // oldest first
	underway    []*challenge              // in process, the first to settle first
}

func newChallengeBook() challengeBook {
	return challengeBook{byRequestID: make(map[string]*challenge), byResource: make(map[resource][]*challenge)}
}

func (b *challengeBook) add(c *challenge) {
	pending := append(b.byResource[c.resource], c)
	if len(pending) > maxChallenges {
		// One in process goes last: its resends must find it.
		oldest := max(0, slices.IndexFunc(pending[:maxChallenges], func(c *challenge) bool { return c.accepted == "" }))
		b.drop(pending[oldest])
		pending = slices.Delete(pending, oldest, oldest+1)
	}
	b.byRequestID[c.requestID] = c
	b.byResource[c.resource] = pending
}

// find returns the challenge that a request for the resource names. With an
// error there is one too if it was good once: it may have accepted the request.
func (b *challengeBook) find(requestID string, of resource, now time.Time) (*challenge, error) {
	c := b.byRequestID[requestID]
	switch {
	case c == nil:
		return nil, challengeUnknown
	case c.resource != of:
		return nil, challengeElsewhere
	case c.spent:
		return c, challengeConsumed
	case c.accepted == "" && !now.Before(c.expires):
		return c, challengeExpired
	}
	return c, nil
}

// forget drops the challenges of a resource that is gone.
func (b *challengeBook) forget(r resource) {
	for _, c := range b.byResource[r] {
		b.drop(c)
	}
	delete(b.byResource, r)
}

// drop takes a challenge out of everything but the list of its resource.
func (b *challengeBook) drop(c *challenge) {
	delete(b.byRequestID, c.requestID)
	b.stop(c)
}

// stop ends that a challenge is in process, if it is.
func (b *challengeBook) stop(c *challenge) {
	b.underway = slices.DeleteFunc(b.underway, func(other *challenge) bool { return other == c })
}

// process keeps a challenge in process until it settles.
func (b *challengeBook) process(c *challenge, settles time.Time) {
	b.stop(c)
	c.settles = settles
	b.underway = append(b.underway, c)
}

// processing is the answer to what was accepted and is not done.
var processing = reply{http.StatusOK, map[string]string{"status": "PROCESSING"}}

// signed is the handler of an operation that needs a signature. prepare reads
// the request as far as it goes without one: its body, its id and what that id
// is of.
func signed(prepare func(*Sim, request) (operation, error)) handler {
	return func(s *Sim, req request) (reply, error) {
		headers, err := readSignatureHeaders(req.header)
		if err != nil {
			return reply{}, err
		}
		req.firstLeg = headers.absent()
		op, err := prepare(s, req)
		if err != nil {
			return reply{}, err
		}
		return s.signedRetry(req, headers, op)
	}
}

// signedRetry runs one leg. Without the two headers it issues a challenge;
// every call issues another one, and the earlier ones stay good. With them it
// checks the signature and applies the operation. A challenge is good for one
// success; a failure spends it only if so configured.
func (s *Sim) signedRetry(req request, headers signatureHeaders, op operation) (reply, error) {
	switch {
	case headers.absent():
		if err := op.possible(req.now); err != nil {
			return reply{}, err
		}
		return s.issue(req, op)
	case headers.requestID == "":
		return reply{}, requestIDMissing
	case headers.signatureRepeated:
		return reply{}, signatureRepeated
	case headers.signature == "":
		return reply{}, signatureMissing
	}
	sig, err := s.parseSignature(headers.signature)
	switch {
	case err != nil:
		return reply{}, err
	case sig.magic && op.token != nil:
		return reply{}, stampNotBase64 // what it is where there is no magic
	}
	c, err := s.challenges.find(headers.requestID, resource{req.target, op.account}, req.now)
	switch {
	case c.isResent(req, headers.signature):
		return s.proceed(c, req.now)
	case err != nil:
		return reply{}, err
	}
	if err := op.possible(req.now); err != nil {
		return reply{}, err
	}
	if err := s.checkLeg(c, req, sig, op.signers); err != nil {
		c.spent = s.cfg.ConsumeOnFailure && c.accepted == ""
		return reply{}, err
	}
	return s.accept(c, req, headers.signature, op)
}

// isResent tells whether the request was accepted before: it is known by its
// bytes and not judged again. Its signer may be gone by now, the decision
// stands. A nil challenge has accepted nothing.
func (c *challenge) isResent(req request, signature string) bool {
	return c != nil && c.accepted == signature && c.body == sha256.Sum256(req.body)
}

// accept takes on a request whose signature is good.
func (s *Sim) accept(c *challenge, req request, signature string, op operation) (reply, error) {
	c.op, c.once = &op, op.once
	if s.cfg.ProcessingReplies > 0 {
		c.accepted = signature
	}
	return s.proceed(c, req.now)
}

// checkLeg checks leg 2 against its challenge. One in process is not for another
// signature. Nor does it stand in the way of another challenge: a client that
// lost the answer must be able to start again from leg 1.
func (s *Sim) checkLeg(c *challenge, req request, sig walletSignature, signers []*session) error {
	switch {
	case sha256.Sum256(req.body) != c.body:
		return boundBodyDiffers
	case c.accepted != "":
		return processingOtherStamp
	}
	return s.checkSigner(sig, c.payload, signers)
}

// proceed answers a request that was accepted: as often as configured with
// PROCESSING, and then with what became of it.
func (s *Sim) proceed(c *challenge, now time.Time) (reply, error) {
	if !c.spent && c.replies < s.cfg.ProcessingReplies {
		c.replies++
		s.challenges.process(c, now.Add(s.cfg.ProcessingTime))
		return processing, nil
	}
	if !c.spent {
		s.settle(c, now)
	}
	answer := c.answer
	if c.once && c.failure == nil {
		c.accepted, c.answer = "", reply{}
	}
	return answer, c.failure
}

// settle lets an accepted operation take effect, unless something came in its
// way since.
func (s *Sim) settle(c *challenge, now time.Time) {
	c.spent = true
	s.challenges.stop(c)
	if c.failure = c.op.possible(now); c.failure == nil {
		c.answer, c.failure = c.op.apply(now)
	}
	c.op = nil
}

// settleDue settles what nobody asked about for long enough, each at its time.
func (s *Sim) settleDue(now time.Time) {
	for len(s.challenges.underway) > 0 && !now.Before(s.challenges.underway[0].settles) {
		c := s.challenges.underway[0]
		s.dropExpired(c.settles) // which may take c along
		if slices.Contains(s.challenges.underway, c) {
			s.settle(c, c.settles)
		}
	}
}

// newChallenge makes a challenge for a resource, with nothing in it.
func (s *Sim) newChallenge(now time.Time, of resource) *challenge {
	c := &challenge{requestID: uuid.NewString(), resource: of, expires: expiry(now, s.cfg.ChallengeTTL)}
	if s.cfg.Profile != Legacy202604 {
		c.requestID = "Request:" + c.requestID
	}
	s.challenges.add(c)
	return c
}

// issue is leg 1.
func (s *Sim) issue(req request, op operation) (reply, error) {
	payload, err := s.payload(req.now, op)
	if err != nil {
		return reply{}, err
	}
	c := s.newChallenge(req.now, resource{req.target, op.account})
	c.body, c.payload = sha256.Sum256(req.body), payload
	return reply{http.StatusAccepted, struct {
		Type          string `json:"type,omitempty"`
		PayloadToSign string `json:"payloadToSign"`
		RequestID     string `json:"requestId"`
		ExpiresAt     string `json:"expiresAt"`
	}{op.kind, c.payload, c.requestID, timestamp(c.expires)}}, nil
}

// payload is what is to be signed for the operation.
func (s *Sim) payload(now time.Time, op operation) (string, error) {
	switch {
	case op.token != nil:
		return op.token(now)
	case s.cfg.Profile == Legacy202604:
		return opaquePayload(), nil
	}
	return s.activityPayload(now, op), nil
}

// activityPayload is the payload of today: compact JSON, keys sorted at every
// level, as encoding/json sorts those of maps.
func (s *Sim) activityPayload(now time.Time, op operation) string {
	// Two challenges of the same millisecond would have the same payload, and a
	// signature for one would do for the other.
	s.lastStampMs = max(s.lastStampMs+1, now.UnixMilli())
	payload, _ := json.Marshal(map[string]any{ // of strings: cannot fail
		"organizationId": op.account.organizationID,
		"parameters":     op.parameters,
		"timestampMs":    strconv.FormatInt(s.lastStampMs, 10),
		"type":           op.activity,
	})
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
