package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"gridsigner/bridge"
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
	errFlags := errors.Join(err, fromEnv(flags, sys.getenv), s.check())
	v, errBuild := s.build(ctx, sys)
	defer func() { err = errors.Join(err, v.close()) }()
	if err := errors.Join(errFlags, errBuild); err != nil {
		return err
	}
	if s.configCheck {
		_, err := fmt.Fprintln(sys.stdout, "the configuration is good")
		return err
	}
	for _, warning := range bridge.CredentialsWarnings(sys.getenv) {
		v.log.Warn(warning)
	}
	if s.redisURL != "" && sys.getenv("GRIDBRIDGE_KEY") == "" && sys.getenv("GRIDBRIDGE_KEY_FILE") == "" {
		v.log.Warn("GRIDBRIDGE_KEY is not set: while the API secret is changed, replicas do not understand one another")
	}
	if v.audit != nil {
		defer v.audit.followRotation(v.log)()
	}
	most := connectionsFor(fileLimit())
	if s.maxConnections > most {
		v.log.Warn("--max-connections is more than the limit on open files leaves", slog.Int("connections", most))
	}
	if s.maxConnections > 0 {
		most = s.maxConnections
	}
	ln, err := net.Listen("tcp", s.listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	defer ln.Close()
	public := listener{newConnections(ln, most, v.happened), v.handler}
	if s.adminListen == "" {
		fmt.Fprintf(sys.stdout, "bridge listening on %s%s\n", origin(ln), bridge.DefaultPrefix)
		return serveAll(ctx, v.log, nil, public)
	}
	admin, err := net.Listen("tcp", s.adminListen)
	if err != nil {
		return fmt.Errorf("--admin-listen: %w", err)
	}
	defer admin.Close()
	fmt.Fprintf(sys.stdout, "bridge listening on %s%s\nmetrics and health on %s\n", origin(ln), bridge.DefaultPrefix, origin(admin))
	drain := func() { sys.sleep(s.drainDelay) }
	return serveAll(ctx, v.log, drain, public, listener{newConnections(admin, adminConnections, v.happened), adminHandler(ctx, v.registry)}) // admin last, so that it answers until all else has stopped
}
