package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gridsigner/bridge"
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
	f.DurationVar(&c.OTPTTL, "otp-ttl", 5*time.Minute, "`lifetime` of a code")
	f.IntVar(&c.ProcessingReplies, "processing-replies", 0, "`number` of times that a signed request is answered with PROCESSING before it takes effect")
	f.IntVar(&c.RateLimit, "rate-limit", 0, "`number` of requests a minute to sign in with a credential, beyond which they are 429; 0 for any number")
	f.BoolVar(&c.P256Only, "p256-only", false, "refuse secp256k1 keys")
	f.BoolVar(&c.LenientStamp, "lenient-stamps", false, "accept padding, upper-case hex, further fields and escapes in a signature")
	f.BoolVar(&c.AllowMagic, "allow-magic", false, "accept the sandbox's values in place of a signature, a code and a passkey's signature")
	f.BoolVar(&c.SeedEmailOTP, "seed-email-otp", c.SeedEmailOTP, "begin with an EMAIL_OTP credential beside the OAUTH one")
	f.StringVar(&c.RPID, "rp-id", "", "`domain` that passkeys are made for; any that their pages may name if empty")
	f.Var((*list)(&c.Origins), "origin", "`origin` of pages that may use passkeys, repeatable; all that are https, or http on localhost, if none")
	f.BoolVar(&c.ProdStrict, "prod-strict", false, "refuse what sessions of an uncompressed key sign that was sealed with a code, as Grid's production does")
	f.BoolVar(&c.SandboxExport, "sandbox-export", false, "leave exports unsigned, as Grid's sandbox does")
	f.BoolVar(&c.ConsumeOnFailure, "consume-on-failure", false, "spend a challenge also on a signed request that fails")
	f.StringVar(&c.NotFoundCode, "not-found-code", gridsim.DefaultNotFoundCode, "`code` of every 404, of which Grid documents none for the auth endpoints")
	f.BoolVar(&c.Control, "control", false, "enable POST /_sim/clock and GET /_sim/inbox, for tests")
	f.BoolVar(&s.json, "json", false, "print one line of JSON when ready")
}

// open makes the simulator and listens on address for it. The codes that it sends
// are printed for people, which with --json is not on standard output.
func (s *simulator) open(sys system, address string) (*gridsim.Sim, listener, error) {
	out := sys.stdout
	if s.json {
		out = sys.stderr
	}
	s.config.Send = func(m gridsim.Message) {
		fmt.Fprintf(out, "code           %s to %s, for %s\n", m.Code, m.To, m.CredentialID) // nobody to tell if it fails
	}
	sim, err := gridsim.New(s.config)
	if err != nil {
		return nil, listener{}, err
	}
	ln, err := listenLoopback(address)
	if err != nil {
		return nil, listener{}, err
	}
	return sim, listener{Listener: ln, handler: below(gridPath, sim)}, nil
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
	var text strings.Builder
	if r.Page != "" {
		fmt.Fprintf(&text, "demo page      %s\n\n", r.Page)
	}
	fmt.Fprintf(&text, `simulated Grid %s
client id      %s
client secret  %s
account        %s
credential     %s
its identity   iss %s, aud %s, sub %s
`, r.URL, r.ClientID, r.ClientSecret, r.AccountID, r.CredentialID, r.OIDC.Issuer, r.OIDC.Audience, r.OIDC.Subject)
	if r.EmailCredentialID != "" {
		fmt.Fprintf(&text, "by e-mail code %s\n", r.EmailCredentialID)
	}
	fmt.Fprintf(&text, `OTP signer     %s
export signer  %s

Codes that it sends are printed here. Ctrl-C stops it.
`, r.OTPSigner, r.ExportSigner)
	_, err := io.WriteString(sys.stdout, text.String())
	return err
}

// simulate runs the simulator alone.
func simulate(ctx context.Context, sys system, args []string) error {
	var s simulator
	if err := sys.parse(s.flags(), args); err != nil {
		return err
	}
	sim, ln, err := s.open(sys, s.listen)
	if err != nil {
		return err
	}
	if err := sys.print(ready{URL: origin(ln) + gridPath, Seed: sim.Seed()}, s.json); err != nil {
		return err
	}
	return serveAll(ctx, slog.New(slog.NewTextHandler(sys.stderr, nil)), bridge.DefaultTimeout, nil, ln)
}
