package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"gridsigner/bridge"
	"gridsigner/bridge/telemetry"
)

// serve runs the bridge. All that is wrong with flags and environment is
// reported before it listens.
func serve(ctx context.Context, sys system, args []string) (err error) {
	var s settings
	flags := s.flags()
	err = sys.parse(flags, args)
	if _, ok := errors.AsType[wrongValues](err); err != nil && !ok {
		return err
	}
	errFlags := errors.Join(err, fromEnv(flags, sys.getenv), s.check(), s.checkSettings(flags, sys))
	v, errBuild := s.build(ctx, sys)
	defer func() { err = errors.Join(err, v.close()) }()
	if err := errors.Join(errFlags, errBuild); err != nil {
		return err
	}
	if s.configCheck {
		if err := v.needed(ctx); err != nil {
			return err
		}
		_, err := fmt.Fprintln(sys.stdout, "the configuration is good")
		return err
	}
	s.warn(v.log, sys.getenv)
	defer s.watchApp(ctx, v.log)()
	if v.audit != nil {
		defer v.audit.followRotation(v.log)()
	}
	ln, err := listenOn(s.listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	defer ln.Close()
	public := listener{newConnections(ln, s.connections(), v.happened), v.tls, v.handler}
	if s.adminListen == "" {
		fmt.Fprintf(sys.stdout, "bridge listening on %s\n", public.at(s.prefix))
		s.announce(v.log, public, nil, sys.getenv)
		return serveAll(ctx, v.log, s.timeout, nil, public)
	}
	adminLn, err := listenOn(s.adminListen)
	if err != nil {
		return fmt.Errorf("--admin-listen: %w", err)
	}
	defer adminLn.Close()
	admin := listener{newConnections(adminLn, adminConnections, v.happened), nil, adminHandler(ctx, v.registry)}
	fmt.Fprintf(sys.stdout, "bridge listening on %s\nmetrics and health on %s\n", public.at(s.prefix), admin.at(""))
	s.announce(v.log, public, &admin, sys.getenv)
	drain := func() { sys.sleep(s.drainDelay) }
	return serveAll(ctx, v.log, s.timeout, drain, public, admin) // admin last, so that it answers until all else has stopped
}

// connections is how many there may be to --listen.
func (s *settings) connections() int {
	if s.maxConnections > 0 {
		return s.maxConnections
	}
	return connectionsFor(fileLimit())
}

// warn says what works and is not as it should be.
func (s *settings) warn(log *slog.Logger, getenv func(string) string) {
	for _, warning := range bridge.CredentialsWarnings(getenv) {
		log.Warn(warning)
	}
	if info, err := os.Stat(s.tlsKey); s.tlsKey != "" && err == nil && info.Mode()&0o006 != 0 {
		log.Warn(fmt.Sprintf("the file of --tls-key is open to everybody on this machine (mode %04o)", info.Mode().Perm()))
	}
	if s.redisURL != "" && getenv("GRIDBRIDGE_KEY") == "" && getenv("GRIDBRIDGE_KEY_FILE") == "" {
		log.Warn("GRIDBRIDGE_KEY is not set: while the API secret is changed, replicas do not understand one another")
	}
	if strings.HasPrefix(s.listen, socketPrefix) && !s.proxies.unix {
		log.Warn("nobody's address is known on a Unix socket, and all users share the limits of one: set --trusted-proxy unix if a proxy of yours connects to it")
	}
	if most := connectionsFor(fileLimit()); s.maxConnections > most {
		log.Warn("--max-connections is more than the limit on open files leaves", slog.Int("connections", most))
	}
}

// announce writes the line by which an operator's tools know what has started: addresses, what
// runs, and the settings that change what is safe.
func (s *settings) announce(log *slog.Logger, public listener, admin *listener, getenv func(string) string) {
	version, revision, goVersion := telemetry.Build()
	users, adminAt, upstream := "oidc", "", bridge.DefaultUpstream
	if s.forwardAuth != "" {
		users = "forward-auth"
	}
	if admin != nil {
		adminAt = admin.at("")
	}
	if u := getenv("GRID_BASE_URL"); u != "" { // which has neither a user nor a query
		upstream = u
	}
	log.Info("listening", slog.String("address", public.at("")), slog.String("prefix", s.prefix), slog.Bool("tls", public.tls != nil), slog.String("admin", adminAt),
		slog.String("upstream", upstream), slog.String("users", users), slog.Bool("shared", s.redisURL != ""), slog.Int("trustedProxies", len(s.proxies.networks)),
		slog.Bool("trustUnix", s.proxies.unix), slog.String("audit", s.auditLog), slog.Int("connections", s.connections()), slog.Duration("timeout", s.timeout),
		slog.String("version", version), slog.String("revision", revision), slog.String("go", goVersion))
}
