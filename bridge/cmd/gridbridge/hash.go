package main

import (
	"flag"
	"fmt"

	"gridsigner/bridge"
)

// hash prints what stands for an id in the audit of a bridge with the same environment.
func hash(sys system, args []string) error {
	var id string
	if err := sys.parse(flag.NewFlagSet("hash", flag.ContinueOnError), args, &id); err != nil {
		return err
	}
	_, secret, err := bridge.CredentialsFromEnv(sys.getenv)
	if sys.getenv("GRIDBRIDGE_KEY") != "" || sys.getenv("GRIDBRIDGE_KEY_FILE") != "" {
		err = nil // they are not needed
	}
	if err != nil {
		return err
	}
	key, err := bridge.KeyFromEnv(sys.getenv, secret)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(sys.stdout, bridge.AuditHash(key, id))
	return err
}
