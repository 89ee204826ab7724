package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"gridsigner/bridge/gridsim"
)

// gridPath is the version path of Grid's base URL.
const gridPath = "/grid/2025-10-13"

// simulator is a simulator that is about to run, and the flags that made it.
type simulator struct {
	profile                  string
	challengeTTL, sessionTTL time.Duration
	control, json            bool
}

func (s *simulator) register(flags *flag.FlagSet) {
	flags.StringVar(&s.profile, "profile", string(gridsim.Modern), "`generation` of Grid's contract: modern or legacy-2026-04")
	flags.DurationVar(&s.challengeTTL, "challenge-ttl", 0, "`lifetime` of a challenge (default 5m)")
	flags.DurationVar(&s.sessionTTL, "session-ttl", 0, "`lifetime` of a session (default 15m)")
	flags.BoolVar(&s.control, "control", false, "enable POST /_sim/clock, for tests")
	flags.BoolVar(&s.json, "json", false, "print one line of JSON when ready")
}

// open makes the simulator and listens on address for it.
func (s *simulator) open(address string) (*gridsim.Sim, listener, error) {
	sim, err := gridsim.New(gridsim.Config{
		Profile: gridsim.Profile(s.profile), ChallengeTTL: s.challengeTTL, SessionTTL: s.sessionTTL, Control: s.control,
	})
	if err != nil {
		return nil, listener{}, err
	}
	ln, err := listenLoopback(address)
	if err != nil {
		return nil, listener{}, err
	}
	return sim, listener{ln, http.StripPrefix(gridPath, sim)}, nil
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
	flags := flag.NewFlagSet("simulate", flag.ContinueOnError)
	address := flags.String("listen", "127.0.0.1:0", "loopback `address` to listen on; port 0 picks one")
	var s simulator
	s.register(flags)
	if err := sys.parse(flags, args); err != nil {
		return err
	}
	sim, ln, err := s.open(*address)
	if err != nil {
		return err
	}
	if err := sys.print(ready{URL: origin(ln) + gridPath, Seed: sim.Seed()}, s.json); err != nil {
		return err
	}
	return serveAll(ctx, slog.New(slog.NewTextHandler(sys.stderr, nil)), nil, ln)
}
