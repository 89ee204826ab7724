package bridge

import (
	"context"
	"time"
)

// Store is what one request leaves behind for later ones: challenges, marks
// against replay, owners and token buckets. It is this process's own unless
// [Config.Store] is one that replicas share (package redisstore).
//
// Losing an entry is always safe: a lost challenge is asked for again, a lost
// owner looked up again, and a replay that is let pass is refused by Grid, which
// takes each Request-Id once.
type Store interface {
	// Consult does, in one exchange, what a request begins with: it takes from the
	// buckets, in their order and up to the first that refuses, and loads keys.
	Consult(ctx context.Context, takes []Take, keys []Key) Consulted

	// Save keeps entries, in one exchange. No value of a key ever changes while it lives.
	Save(ctx context.Context, entries ...Entry)

	// Claim reports whether it is the first for key since life or Release.
	Claim(ctx context.Context, key Key, life time.Duration) bool

	// Release takes a claim back: the next one of key is the first again.
	Release(ctx context.Context, key Key)
}

// Key names an entry. It is made by the bridge, never by a client, and holds no secret in
// readable form.
type Key struct {
	Part Part
	ID   string // of fixed size: a hash
}

// String returns both in one text.
func (k Key) String() string { return string(k.Part) + ":" + k.ID }

// Part is a kind of entries. What fills one pushes nothing out of another.
type Part string

const (
	PartOwners     Part = "owner"      // that a session or a credential is of an account
	PartChallenges Part = "challenge"  // what a user was given to sign
	PartPasskeys   Part = "passkey"    // what a user's passkey was asked for
	PartSpent      Part = "spent"      // claims: each signed request goes to Grid once
	PartProcessing Part = "processing" // but again, if Grid has asked for it

	// Buckets, each of one of the [Limits].
	PartUsers    Part = "user"
	PartSignIn   Part = "sign-in"
	PartSignIns  Part = "sign-ins"
	PartAttempts Part = "attempts"
	PartPending  Part = "pending"
)

// Take takes a token from the bucket of Key.
type Take struct {
	Key   Key
	Limit Limit
}

// Consulted is the answer to [Store.Consult].
type Consulted struct {
	Refused int           // index of the take whose bucket has too little, -1 if none
	Wait    time.Duration // until it would have enough
	Values  [][]byte      // of the keys, nil for those that are not there
	Whole   bool          // what is not in Values no replica has saved
}

// Entry is a value to keep for life.
type Entry struct {
	Key   Key
	Value []byte
	Life  time.Duration
}
