package bridge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

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
	if l.Rate < 1 || l.Per < time.Millisecond || l.Burst < 1 || l.every() == 0 {
		return fmt.Errorf("bridge: %s is not a limit: want RATE/PER,BURST, such as 10/1s,30", l)
	}
	return nil
}

// Limits are the limits on clients. A zero field has the default's value.
type Limits struct {
	Address  Limit // requests of one address, IPv6 by /64
	User     Limit // requests of one user
	SignIn   Limit // those of them that sign in or export a wallet, of one address and of one user
	Attempts Limit // those with one credential, or of one wallet
	InFlight int   // requests at once, of everybody; beyond it load is shed
}

// DefaultLimits leave room for a page that lists and revokes all sessions of a
// user, and for an office behind one address. A sign-in by a code is three attempts,
// one by a passkey two. A guesser has 120 for a code of Grid's default, which is
// one of a million and good for five minutes.
var DefaultLimits = Limits{
	Address:  Limit{50, time.Second, 100},
	User:     Limit{10, time.Second, 40},
	SignIn:   Limit{1, time.Second, 20},
	Attempts: Limit{1, 3 * time.Second, 20},
	InFlight: 1024,
}

// complete fills in the defaults.
func (l *Limits) complete() error {
	var errs []error
	for _, v := range []struct{ limit, preset *Limit }{
		{&l.Address, &DefaultLimits.Address}, {&l.User, &DefaultLimits.User}, {&l.SignIn, &DefaultLimits.SignIn}, {&l.Attempts, &DefaultLimits.Attempts},
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

// enter counts a request in, or sheds it. Whoever entered must leave.
func (b *bridge) enter() error {
	if b.inFlight.Add(1) > int64(b.limits.InFlight) {
		return errOverloaded.after(time.Second)
	}
	return nil
}

func (b *bridge) leave() { b.inFlight.Add(-1) }

// limitAddress takes a token of the address that r comes from. It comes before
// the check of who is calling, which costs more than a token.
func (b *bridge) limitAddress(ctx context.Context, r *http.Request, rt *route) error {
	return b.limit(ctx, rt, b.limits.Address, "address:"+b.address(r))
}

// limitUser takes a token of the user, who may come from many addresses.
func (b *bridge) limitUser(ctx context.Context, user User, rt *route) error {
	return b.limit(ctx, rt, b.limits.User, "user:"+digest(user.ID))
}

func (b *bridge) limit(ctx context.Context, rt *route, l Limit, who string) error {
	if wait, ok := b.store.take(ctx, "limit:"+who, l); !ok {
		return errRateLimited.after(wait)
	}
	if rt.isGuarded() {
		if wait, ok := b.store.take(ctx, "sign-in:"+who, b.limits.SignIn); !ok {
			return errRateLimited.after(wait)
		}
	}
	return nil
}

// limitThing takes a token of the credential or the account that c names. It comes
// after the check of whose that is, or anybody could spend somebody else's.
func (b *bridge) limitThing(ctx context.Context, c *call) error {
	if c.route.isGuarded() {
		if wait, ok := b.store.take(ctx, "attempts:"+digest(c.id), b.limits.Attempts); !ok {
			return errRateLimited.after(wait)
		}
	}
	return nil
}

// isGuarded reports whether a request may be a guess at a credential, has a message
// sent to a person, or takes a whole wallet along: nobody needs that often.
func (rt *route) isGuarded() bool {
	return rt.op == signer.OpChallengeCredential || rt.op == signer.OpVerifyCredential || rt.op == signer.OpExportWallet
}

// address is the client's address as far as it can be known: that of the
// connection or, if that is of a trusted proxy, the last in X-Forwarded-For
// that is not. What stands before it was written by the client.
//
// A household or a machine has a whole /64 of IPv6 to choose from.
func (b *bridge) address(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return "unknown" // not TCP: all share one bucket
	}
	addr := peer.Addr().Unmap().WithZone("")
	for hops := strings.Join(r.Header["X-Forwarded-For"], ","); hops != "" && b.trusted(addr); {
		comma := strings.LastIndexByte(hops, ',')
		next, err := parseHop(strings.TrimSpace(hops[comma+1:]))
		if err != nil {
			break
		}
		addr, hops = next.Unmap().WithZone(""), hops[:max(comma, 0)]
	}
	if addr.Is6() {
		prefix, _ := addr.Prefix(64) // fails for more than 128 bits only
		return prefix.String()
	}
	return addr.String()
}

// parseHop reads an address as proxies write it: some add the port.
func parseHop(text string) (netip.Addr, error) {
	if hop, err := netip.ParseAddrPort(text); err == nil {
		return hop.Addr(), nil
	}
	return netip.ParseAddr(text)
}

func (b *bridge) trusted(addr netip.Addr) bool {
	return slices.ContainsFunc(b.proxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}
