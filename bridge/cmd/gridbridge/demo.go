package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"syscall"

	"gridsigner/bridge"
	"gridsigner/bridge/identity"
	"gridsigner/signer"
)

// demoAddress is where the demo listens unless told otherwise, or on any free
// port if that one is taken.
const demoAddress = "127.0.0.1:8787"

// demonstration is a demo that is about to run, as its flags describe it.
type demonstration struct {
	simulator
	web      string
	payloads signer.Payloads
}

func (d *demonstration) flags() *flag.FlagSet {
	f := flag.NewFlagSet("demo", flag.ContinueOnError)
	f.StringVar(&d.listen, "listen", "", "loopback `address` to listen on; port 0 picks one (default "+demoAddress+", or a free port)")
	f.StringVar(&d.web, "web", "", "`directory` of the built web files (default web/dist)")
	d.config.SeedEmailOTP = true
	d.register(f)
	registerPayloads(f, &d.payloads)
	return f
}

// demo runs the whole system on loopback: the simulator on a listener of its
// own, with real HTTP between it and the bridge; the bridge; an identity
// provider that lets everybody in; and the demo page.
func demo(ctx context.Context, sys system, args []string) error {
	var d demonstration
	if err := sys.parse(d.flags(), args); err != nil {
		return err
	}
	files, err := openSite(d.web)
	if err != nil {
		return err
	}
	defer files.root.Close()
	sim, simListener, err := d.open(sys, "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer simListener.Close()
	ln, err := listenDemo(d.listen)
	if err != nil {
		return err
	}
	defer ln.Close()

	log := slog.New(slog.NewTextHandler(sys.stderr, nil))
	seed := sim.Seed()
	page := pageOrigin(ln) + "/demo/"
	idp, err := newIdentityProvider(page, seed, sim.Now)
	if err != nil {
		return err
	}
	authenticate, err := identity.NewOIDC(ctx, identity.OIDC{
		Issuers: []identity.Issuer{{Issuer: idp.issuer, Audience: demoAudience, Keys: idp.keys}}, AccountsClaim: "grid_accounts", Log: log,
	})
	if err != nil {
		return err
	}
	upstream := origin(simListener) + gridPath
	api, err := bridge.New(bridge.Config{
		Upstream: upstream, ClientID: seed.ClientID, ClientSecret: bridge.NewSecret(seed.ClientSecret),
		Authenticate: authenticate, App: demoApp(idp, pageData(sim), files), Payloads: d.payloads, Log: log,
	})
	if err != nil {
		return err
	}
	if err := sys.print(ready{URL: upstream, Seed: seed, Page: page}, d.json); err != nil {
		return err
	}
	return serveAll(ctx, log, bridge.DefaultTimeout, nil, simListener, listener{Listener: ln, handler: onThisMachine(api)})
}

// pageOrigin is the origin of the demo page: by name, since passkeys are made for
// one, and an address is no name.
func pageOrigin(ln net.Listener) string {
	addr := ln.Addr().(*net.TCPAddr)
	if !addr.IP.Equal(net.IPv4(127, 0, 0, 1)) && !addr.IP.Equal(net.IPv6loopback) {
		return origin(ln) // which localhost may not be
	}
	return fmt.Sprintf("http://localhost:%d", addr.Port)
}

// listenDemo listens on address, or where it is free to choose if that is "".
func listenDemo(address string) (net.Listener, error) {
	if address != "" {
		return listenLoopback(address)
	}
	ln, err := listenLoopback(demoAddress)
	if errors.Is(err, syscall.EADDRINUSE) {
		ln, err = listenLoopback("127.0.0.1:0")
	}
	return ln, err
}

// demoApp is what the demo has beside the bridge: the login, what the page has to know, and
// the site.
func demoApp(login, data, site http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.EscapedPath() {
		case "/demo/login":
			login.ServeHTTP(w, r)
		case configPath, inboxPath:
			data.ServeHTTP(w, r)
		default:
			site.ServeHTTP(w, r)
		}
	})
}

// onThisMachine has handler serve only names of this machine. A page of another site can have
// its own name resolve to 127.0.0.1 (DNS rebinding) and would then share an origin with the
// demo. It cannot change the Host that the browser sends.
func onThisMachine(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch (&url.URL{Host: r.Host}).Hostname() {
		case "localhost", "127.0.0.1", "::1":
			handler.ServeHTTP(w, r)
		default:
			http.Error(w, "the demo answers on localhost only", http.StatusMisdirectedRequest)
		}
	})
}
