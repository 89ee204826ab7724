package main

import (
	"errors"
	"flag"
	"fmt"
	"strings"

	"gridsigner/bridge"
	"gridsigner/signer"
)

// hash prints what stands for an id in the audit of a bridge with the same environment.
func hash(sys system, args []string) error {
	var id string
	if err := sys.parse(flag.NewFlagSet("hash", flag.ContinueOnError), args, &id); err != nil {
		return err
	}
	if kind, _, _ := strings.Cut(id, ":"); !signer.ValidID(kind, id) && !signer.ValidRequestID(id) {
		return errors.New("hash takes an id such as Session:019542f5-b3e7-1d02-0000-000000000001")
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
