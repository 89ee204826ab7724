package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"gridsigner/bridge/conformance"
)

// checker is a run of the conformance suite, as its flags and variables describe it.
type checker struct {
	conformance.Options
	headers lines
	json    bool
}

func (c *checker) flags() *flag.FlagSet {
	f := flag.NewFlagSet("check", flag.ContinueOnError)
	f.Var(&c.headers, "header", "`\"Name: value\"` that makes a request a known user's; repeatable. ps shows flags; in the variable there is one a line")
	f.StringVar(&c.Account, "account", "", "InternalAccount `id` of that user; required")
	f.StringVar(&c.Foreign, "foreign", "", "Session `id` of another user's, if one is known: it must be answered like one that nobody has")
	f.DurationVar(&c.Patience, "patience", 30*time.Second, "`time` in which a slow client must have been cut off")
	f.BoolVar(&c.json, "json", false, "print JSON instead of a table")
	return f
}

// check runs the conformance suite against any bridge. It fails if a check
// fails, so that a pipeline can stop there.
func check(ctx context.Context, sys system, args []string) error {
	var c checker
	flags := c.flags()
	if err := sys.parse(flags, args, &c.URL); err != nil {
		return err
	}
	if err := fromEnv(flags, sys.getenv); err != nil {
		return err
	}
	c.Headers, c.Secrets = c.headers.list, canaries(sys.getenv)
	results, err := conformance.Run(ctx, c.Options)
	if err != nil {
		return err
	}
	if c.json {
		err = json.NewEncoder(sys.stdout).Encode(results)
	} else {
		err = printTable(sys, results)
	}
	failed := 0
	for _, r := range results {
		if !r.OK {
			failed++
		}
	}
	if err == nil && failed > 0 {
		err = fmt.Errorf("%d of %d checks failed", failed, len(results))
	}
	return err
}

// canaries are the API credentials, if they are at hand: no answer may hold
// them. Where "gridbridge serve" finds its own, they are. An id alone is none:
// a short one is found everywhere.
func canaries(getenv func(string) string) (secrets []string) {
	var parts []string
	for _, name := range []string{"GRID_CLIENT_ID", "GRID_CLIENT_SECRET"} {
		part := getenv(name)
		if file := getenv(name + "_FILE"); part == "" && file != "" {
			content, _ := os.ReadFile(file) // what cannot be read is not at hand
			part = strings.TrimSpace(string(content))
		}
		parts = append(parts, part)
	}
	if parts[1] == "" {
		return nil
	}
	return []string{parts[1], strings.Join(parts, ":")} // the second as it is in a header
}

func printTable(sys system, results []conformance.Result) error {
	w := tabwriter.NewWriter(sys.stdout, 0, 8, 2, ' ', 0)
	for _, r := range results {
		outcome := "ok"
		if !r.OK {
			outcome = "FAILED"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", outcome, r.Group, r.Name, r.Detail)
	}
	return w.Flush()
}
