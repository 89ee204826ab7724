package bridge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"gridsigner/bridge/internal/bounded"
	"gridsigner/signer"
)

// Limit is a token bucket: Rate requests every Per in the long run, and up to
// Burst at once. Its text form is RATE/PER,BURST: "10/1s,30".
type Limit struct {
	Rate  int
	Per   time.Duration
	Burst int
}

// every is the time that one token takes to come back.
func (l Limit) every() time.Duration { return l.Per / time.Duration(l.Rate) }

// String returns the text form.
func (l Limit) String() string { return fmt.Sprintf("%d/%s,%d", l.Rate, l.Per, l.Burst) }

// MarshalText returns the text form.
func (l Limit) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads the text form.
func (l *Limit) UnmarshalText(text []byte) error {
	rate, rest, _ := strings.Cut(string(text), "/")
	per, burst, _ := strings.Cut(rest, ",")
	var errs [3]error
	l.Rate, errs[0] = strconv.Atoi(rate)
	l.Per, errs[1] = time.ParseDuration(per)
	l.Burst, errs[2] = strconv.Atoi(burst)
	return errors.Join(append(errs[:], l.check())...)
}

func (l Limit) check() error {
	const longest = 365 * 24 * time.Hour // for an empty bucket to be full: far below what a Duration holds
	if l.Rate < 1 || l.Per < time.Millisecond || l.Burst < 1 || l.every() == 0 || int64(l.Burst) > int64(longest/l.every()) {
		return fmt.Errorf("bridge: %s is not a limit: want RATE/PER,BURST, such as 10/1s,30", l)
	}
	return nil
}

// Limits are the limits on clients. A zero field has the default's value. Those on
// addresses, on calls to Grid and on requests in flight are each replica's own, so that
// a flood costs nobody but the replica that it meets; the others are shared if there is
// a store that is.
type Limits struct {
	Address  Limit // requests of one address, IPv6 by /64
	Network  Limit // requests of one /48 of IPv6, which one customer of a provider may have whole
	User     Limit // calls to Grid for one user
	SignIn   Limit // those that sign in or export a wallet, of one user
	SignIns  Limit // and of one address, which an office may share
	Attempts Limit // those with one credential, or of one wallet
	Pending  Limit // challenges of one user, each of which is kept until it has run out
	Grid     Limit // calls to Grid, whose own limit is one for the whole company
	InFlight int   // requests at once, of everybody; beyond it load is shed
}

// DefaultLimits leave room for a page that lists and revokes all sessions of a
// user, and for an office behind one address. A sign-in by a code is three attempts,
// one by a passkey two. A guesser has 120 for a code of Grid's default, which is
// one of a million and good for five minutes.
var DefaultLimits = Limits{
	Address:  Limit{50, time.Second, 100},
	Network:  Limit{200, time.Second, 400},
	User:     Limit{10, time.Second, 40},
	SignIn:   Limit{1, time.Second, 20},
	SignIns:  Limit{5, time.Second, 100},
	Attempts: Limit{1, 3 * time.Second, 20},
	Pending:  Limit{200, minChallengeLife, 200},
	Grid:     Limit{200, time.Second, 400},
	InFlight: 1024,
}

// fillIn fills in the defaults.
func (l *Limits) fillIn() error {
	var errs []error
	for _, v := range []struct{ limit, preset *Limit }{
		{&l.Address, &DefaultLimits.Address}, {&l.Network, &DefaultLimits.Network}, {&l.User, &DefaultLimits.User}, {&l.SignIn, &DefaultLimits.SignIn},
		{&l.SignIns, &DefaultLimits.SignIns},
		{&l.Attempts, &DefaultLimits.Attempts}, {&l.Pending, &DefaultLimits.Pending}, {&l.Grid, &DefaultLimits.Grid},
	} {
		if *v.limit == (Limit{}) {
			*v.limit = *v.preset
		}
		errs = append(errs, v.limit.check())
	}
	if l.InFlight == 0 {
		l.InFlight = DefaultLimits.InFlight
	}
	if l.InFlight < 0 {
		errs = append(errs, errors.New("bridge: the limit of requests in flight is negative"))
	}
	return errors.Join(errs...)
}

// buckets are token buckets, each as the time at which it will be full again (GCRA).
type buckets struct{ full *bounded.Map[time.Time] }

// take takes a token from the bucket of key, or says how long to wait for it.
func (b buckets) take(key string, l Limit, now time.Time) (wait time.Duration, ok bool) {
	empty := time.Duration(l.Burst) * l.every()
	full, _ := b.full.Get(key) // which keeps young what is in use: forgotten, it would be full
	switch {
	case full.Before(now):
		full = now
	case full.Sub(now) > empty: // the clock was put back
		full = now.Add(empty)
		b.full.Put(key, full, 0)
	}
	full = full.Add(l.every())
	if wait := full.Sub(now) - empty; wait > 0 {
		return wait, false
	}
	b.full.Put(key, full, 0)
	return 0, true
}

// floodLines bounds the log lines about requests that a limit on everybody turned away:
// they are alike, and a flood of them would be one of the log.
var floodLines = Limit{10, time.Second, 50}

// flood holds off what comes in such numbers that nothing else may be done for it. It is
// this process's own, and nothing of it is shared with what users have.
type flood struct {
	limits Limits
	now    func() time.Time

	mu                             sync.Mutex
	addresses, networks, everybody buckets
}

func newFlood(limits Limits, now func() time.Time) *flood {
	bucketsOf := func() buckets { return buckets{bounded.New[time.Time](partBudget)} }
	return &flood{limits: limits, now: now, addresses: bucketsOf(), networks: bucketsOf(), everybody: bucketsOf()}
}

// holdFlood turns r away, before anything else is done or written, if there are too many
// requests in flight or too many of its address.
func (b *bridge) holdFlood(r *http.Request, v *visit) error {
	v.otherSite = b.origins.ofOtherSite(r)
	f, now := b.flood, b.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	err := func() error {
		if b.inFlight.Load() > int64(b.Limits.InFlight) {
			return errOverloaded.after(time.Second)
		}
		address, network := bucketOf(ClientAddress(r.Context()))
		if v.otherSite { // which cannot spend what the user's own page has
			address, network = "other site "+address, "other site "+network
		}
		if wait, ok := f.addresses.take(address, f.limits.Address, now); !ok {
			return errRateLimited.because(reasonLimitAddress).after(wait)
		}
		if ClientAddress(r.Context()).Is6() {
			if wait, ok := f.networks.take(network, f.limits.Network, now); !ok {
				return errRateLimited.because(reasonLimitNetwork).after(wait)
			}
		}
		return nil
	}()
	if err != nil {
		_, ok := f.everybody.take("lines", floodLines, now)
		v.quiet = !ok
	}
	return err
}

// grid takes a token for a call to Grid.
func (f *flood) grid() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if wait, ok := f.everybody.take("grid", f.limits.Grid, f.now()); !ok {
		return errOverloaded.because(reasonLimitGrid).after(wait)
	}
	return nil
}

// limitAttempts takes a token of the credential or the wallet that c names. It comes after
// the check of whose that is, or anybody could spend somebody else's.
func (b *bridge) limitAttempts(ctx context.Context, c *call) error {
	if !c.route.isGuarded() {
		return nil
	}
	take := Take{Key{PartAttempts, bounded.Key(strings.ToLower(c.id))}, b.Limits.Attempts}
	if got := b.Store.Consult(ctx, []Take{take}, nil); got.Refused >= 0 {
		return errRateLimited.because(reasonLimitAttempts).after(got.Wait)
	}
	return nil
}

// chargeUser takes the token that a call to Grid beside the one that was asked for costs
// the user.
func (b *bridge) chargeUser(ctx context.Context, user User) error {
	if got := b.Store.Consult(ctx, []Take{b.takeOfUser(user)}, nil); got.Refused >= 0 {
		return errRateLimited.because(reasonLimitUser).after(got.Wait)
	}
	return nil
}

// isGuarded reports whether a request may be a guess at a credential, has a message
// sent to a person, or takes a whole wallet along: nobody needs that often.
func (rt *route) isGuarded() bool {
	return rt.op == signer.OpChallengeCredential || rt.op == signer.OpVerifyCredential || rt.op == signer.OpExportWallet
}

// takesOfUser are the tokens that a request of user's costs beside those of its address.
func (b *bridge) takesOfUser(ctx context.Context, user User, c *call) []Take {
	id := bounded.Key(user.ID)
	takes := []Take{b.takeOfUser(user)}
	if c.route.isGuarded() {
		address, _ := bucketOf(ClientAddress(ctx))
		takes = append(takes, Take{Key{PartSignIn, id}, b.Limits.SignIn}, Take{Key{PartSignIns, bounded.Key(address)}, b.Limits.SignIns})
	}
	if len(c.headers) == 0 && (c.intent.Name != "" || c.route.op == signer.OpChallengeCredential) {
		takes = append(takes, Take{Key{PartPending, id}, b.Limits.Pending})
	}
	return takes
}

// takeOfUser is the token that a call to Grid costs the user.
func (b *bridge) takeOfUser(user User) Take {
	return Take{Key{PartUsers, bounded.Key(user.ID)}, b.Limits.User}
}

// limitReasons say why a request is refused whose bucket is empty.
var limitReasons = map[Part]Reason{
	PartUsers: reasonLimitUser, PartSignIn: reasonLimitSignIn, PartSignIns: reasonLimitSignIns, PartPending: reasonLimitChallenges,
}
