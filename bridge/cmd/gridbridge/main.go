// Command gridbridge puts the API credentials of a company between its web app
// and Lightspark Grid, or stands in for Grid where there is no network.
//
//	gridbridge serve     the bridge, for users known by a bearer token or by the app
//	gridbridge simulate  a simulator of Grid's auth endpoints, on loopback
//	gridbridge demo      simulator, bridge and demo page together, on loopback
//	gridbridge check     a conformance suite, against this or any other bridge
//	gridbridge hash      what stands for an id in the audit
//	gridbridge version   what this is
//
// "gridbridge COMMAND -h" lists the flags of a command.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)   // a second signal ends the program at once
	signal.Ignore(syscall.SIGPIPE) // or it would end with whoever reads standard error
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, errAuditLost) { // printing would wait for the same reader
			fmt.Fprintln(os.Stderr, "gridbridge:", err)
		}
		os.Exit(1)
	}
}

// system is what a command may touch of the process that it runs in.
type system struct {
	getenv         func(string) string
	stdout, stderr io.Writer
	sleep          func(time.Duration)
	now            func() time.Time
	environ        []string // as of [os.Environ]: getenv does not tell which names there are
}

const usage = `usage: gridbridge COMMAND [flags]

  serve     forward to Grid, for users known by a bearer token or by the app
  simulate  simulate Grid's auth endpoints, on loopback
  demo      run simulator, bridge and demo page together, on loopback
  check     test from outside whether a bridge is safe: gridbridge check URL --account ID
  hash      print what stands for an id in the audit: gridbridge hash ID
  version   print the version, the revision and that of Go

gridbridge COMMAND -h lists the flags of a command.
`

// run does what args say until ctx ends, and returns nil after an orderly stop.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	sys := system{getenv, stdout, stderr, time.Sleep, time.Now, os.Environ()}
	var command string
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	var err error
	switch command {
	case "serve":
		err = serve(ctx, sys, args)
	case "simulate":
		err = simulate(ctx, sys, args)
	case "demo":
		err = demo(ctx, sys, args)
	case "hash":
		err = hash(sys, args)
	case "check":
		err = check(ctx, sys, args)
	case "version", "-version", "--version":
		err = printVersion(sys, args)
	case "-h", "-help", "--help", "help":
		_, err = io.WriteString(stdout, usage)
	default:
		io.WriteString(stderr, usage)
		err = fmt.Errorf("no command %q", command)
	}
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	return err
}

// parse parses the flags of a command and its arguments, all of which must be there,
// in any order. Asked for help, it prints it and returns [flag.ErrHelp]. If all that
// is wrong are values of flags, its error is [wrongValues], with all of them.
func (sys system) parse(flags *flag.FlagSet, args []string, arguments ...*string) error {
	flags.SetOutput(io.Discard) // errors are printed once, by main
	values := postpone(flags)
	err := flags.Parse(args)
	var found []string
	for len(arguments) > 0 && err == nil && flags.NArg() > 0 { // package flag stops at the first
		found = append(found, flags.Arg(0))
		err = flags.Parse(flags.Args()[1:])
	}
	found = append(found, flags.Args()...)
	errValues := values()
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(sys.stdout, "usage: gridbridge %s [flags]%s\n\n", flags.Name(), strings.Repeat(" ARGUMENT", len(arguments)))
		flags.SetOutput(sys.stdout)
		flags.PrintDefaults()
	case err == nil && len(found) > len(arguments):
		number := "no"
		if len(arguments) > 0 {
			number = "one"
		}
		err = fmt.Errorf("%s takes %s argument beside its flags: a blank in one of them?", flags.Name(), number) // which may be a part of a secret
	case err == nil && len(found) < len(arguments):
		err = fmt.Errorf("%s needs an argument: gridbridge %s -h", flags.Name(), flags.Name())
	}
	for i, argument := range arguments {
		if i < len(found) {
			*argument = found[i]
		}
	}
	if err == nil && errValues != nil {
		return wrongValues{errValues}
	}
	return err
}
