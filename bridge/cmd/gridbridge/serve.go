package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"gridsigner/bridge"
)

// serve runs the bridge. All that is wrong with flags and environment is
// reported before it listens.
func serve(ctx context.Context, sys system, args []string) error {
	var s settings
	flags := s.flags()
	err := sys.parse(flags, args)
	if _, ok := errors.AsType[wrongValues](err); err != nil && !ok {
		return err
	}
	errFlags := errors.Join(err, fromEnv(flags, sys.getenv), s.check())
	log := slog.New(slog.NewJSONHandler(sys.stderr, nil))
	authenticate, errUsers := s.users(ctx, log, sys.now, nil)
	if errUsers != nil { // in New's place, which would only see that there is none
		authenticate = func(*http.Request) (bridge.User, error) { return bridge.User{}, errUsers }
	}
	var redis *bridge.Redis
	var errRedis error
	if s.redisURL != "" {
		if redis, errRedis = bridge.OpenRedis(s.redisURL); errRedis == nil {
			defer redis.Close()
		}
	}
	registry := newRegistry()
	handler, errBridge := bridge.New(bridge.Config{
		Upstream:     sys.getenv("GRID_BASE_URL"),
		Credentials:  func() (string, bridge.Secret, error) { return bridge.CredentialsFromEnv(sys.getenv) },
		Authenticate: authenticate, AllowOrigins: s.origins, TrustedProxies: s.proxies,
		Payloads: s.payloads, Limits: s.limits, Redis: redis, Log: log, Metrics: registry, Now: sys.now,
	})
	if err := errors.Join(errFlags, errUsers, errRedis, errBridge); err != nil {
		return err
	}
	if s.configCheck {
		_, err := fmt.Fprintln(sys.stdout, "the configuration is good")
		return err
	}
	ln, err := net.Listen("tcp", s.listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	defer ln.Close()
	if s.adminListen == "" {
		fmt.Fprintf(sys.stdout, "bridge listening on %s%s\n", origin(ln), bridge.DefaultPrefix)
		return serveAll(ctx, log, nil, listener{ln, handler})
	}
	admin, err := net.Listen("tcp", s.adminListen)
	if err != nil {
		return fmt.Errorf("--admin-listen: %w", err)
	}
	defer admin.Close()
	fmt.Fprintf(sys.stdout, "bridge listening on %s%s\nmetrics and health on %s\n", origin(ln), bridge.DefaultPrefix, origin(admin))
	drain := func() { sys.sleep(s.drainDelay) }
	return serveAll(ctx, log, drain, listener{ln, handler}, listener{admin, adminHandler(ctx, registry)}) // admin last, so that it answers until all else has stopped
}
