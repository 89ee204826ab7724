package main

import (
	"flag"
	"fmt"

	"gridsigner/bridge/telemetry"
)

// printVersion prints what this is on one line: the words of gridbridge_build_info.
func printVersion(sys system, args []string) error {
	if err := sys.parse(flag.NewFlagSet("version", flag.ContinueOnError), args); err != nil {
		return err
	}
	version, revision, goVersion := telemetry.Build()
	if revision == "" {
		revision = "unknown"
	}
	_, err := fmt.Fprintf(sys.stdout, "gridbridge %s, revision %s, %s\n", version, revision, goVersion)
	return err
}
