package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gridsigner/bridge/gridsim"
)

// gridPath is the version path of Grid's base URL.
const gridPath = "/grid/2025-10-13"

// simulator is a simulator that is about to run, as its flags describe it.
type simulator struct {
	listen string
	config gridsim.Config
	json   bool
}

func (s *simulator) flags() *flag.FlagSet {
	f := flag.NewFlagSet("simulate", flag.ContinueOnError)
	f.StringVar(&s.listen, "listen", "127.0.0.1:0", "loopback `address` to listen on; port 0 picks one")
	s.register(f)
	return f
}

// register adds the flags that simulate and demo share. Their values are for
// the simulator to judge.
func (s *simulator) register(f *flag.FlagSet) {
	c := &s.config
	f.StringVar((*string)(&c.Profile), "profile", string(gridsim.Modern), "`generation` of Grid's contract: modern or legacy-2026-04")
	f.DurationVar(&c.ChallengeTTL, "challenge-ttl", 5*time.Minute, "`lifetime` of a challenge")
	f.DurationVar(&c.SessionTTL, "session-ttl", 15*time.Minute, "`lifetime` of a session")
	f.IntVar(&c.ProcessingReplies, "processing-replies", 0, "`number` of times that a signed request is answered with PROCESSING before it takes effect")
	f.IntVar(&c.RateLimit, "rate-limit", 0, "`number` of attempts a minute to sign in with a credential, beyond which they are 429; 0 for any number")
	f.BoolVar(&c.P256Only, "p256-only", false, "refuse secp256k1 keys")
	f.BoolVar(&c.LenientStamp, "lenient-stamps", false, "accept padding, upper-case hex, further fields and escapes in a signature")
	f.BoolVar(&c.AllowMagic, "allow-magic", false, "accept sandbox-valid-signature in place of a signature")
	f.BoolVar(&c.ConsumeOnFailure, "consume-on-failure", false, "spend a challenge also on a signed request that fails")
	f.StringVar(&c.NotFoundCode, "not-found-code", gridsim.DefaultNotFoundCode, "`code` of every 404, of which Grid documents none for the auth endpoints")
	f.BoolVar(&c.Control, "control", false, "enable POST /_sim/clock, for tests")
	f.BoolVar(&s.json, "json", false, "print one line of JSON when ready")
}

// open makes the simulator and listens on address for it.
func (s *simulator) open(address string) (*gridsim.Sim, listener, error) {
	sim, err := gridsim.New(s.config)
	if err != nil {
		return nil, listener{}, err
	}
	ln, err := listenLoopback(address)
	if err != nil {
		return nil, listener{}, err
	}
	return sim, listener{ln, below(gridPath, sim)}, nil
}

// below serves what is below path, without it. For all else h is asked for the
// root, where it has nothing: that is its own 404.
func below(path string, h http.Handler) http.Handler {
	stripped := http.StripPrefix(path, h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.EscapedPath(), path+"/") {
			stripped.ServeHTTP(w, r)
			return
		}
		r = r.Clone(r.Context())
		r.URL = &url.URL{Path: "/"}
		h.ServeHTTP(w, r)
	})
}

// ready is what a command prints when it answers. The client secret in it is
// the simulator's, made up for this run.
type ready struct {
	URL string `json:"url"`
	gridsim.Seed
	Page string `json:"page,omitempty"`
}

func (sys system) print(r ready, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(sys.stdout).Encode(r)
	}
	if r.Page != "" {
		fmt.Fprintf(sys.stdout, "demo page      %s\n\n", r.Page)
	}
	_, err := fmt.Fprintf(sys.stdout, `simulated Grid %s
client id      %s
client secret  %s
account        %s
credential     %s
its identity   iss %s, aud %s, sub %s

Ctrl-C stops it.
`, r.URL, r.ClientID, r.ClientSecret, r.AccountID, r.CredentialID, r.OIDC.Issuer, r.OIDC.Audience, r.OIDC.Subject)
	return err
}

// simulate runs the simulator alone.
func simulate(ctx context.Context, sys system, args []string) error {
	var s simulator
	if err := sys.parse(s.flags(), args); err != nil {
		return err
	}
	sim, ln, err := s.open(s.listen)
	if err != nil {
		return err
	}
	if err := sys.print(ready{URL: origin(ln) + gridPath, Seed: sim.Seed()}, s.json); err != nil {
		return err
	}
	return serveAll(ctx, slog.New(slog.NewTextHandler(sys.stderr, nil)), nil, ln)
}
