package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// What the bridge must hold, against what was measured beside it: absolute
// speeds say more about the machine.
const (
	leastOfExpress = 2.5
	mostOfBareP99  = 2.0
	mostResident   = 64 << 10 // kB, with a thousand clients
	mostForClients = 40 << 10 // kB, of that beyond what it takes right after the start
	mostOfHungP99  = 1.5      // with a Redis that hangs, of the p99 without one
)

const (
	redisHung = "Redis hung" // the bridge with a Redis that accepts and never answers
	withRedis = "with Redis" // and with one that is well
)

// The kinds of requests that are measured beside bare Go.
const (
	kindList      = "lists"
	kindFirstLeg  = "first legs"  // of a revocation: answered with a challenge
	kindSignedLeg = "signed legs" // with a stamp, each once
)

// ratios are of bare Go's requests a second, by candidate and kind.
type ratios map[string]map[string]float64

// leastOfBare is what they must be.
var leastOfBare = ratios{
	"gridbridge": {kindList: 0.9, kindFirstLeg: 0.8, kindSignedLeg: 0.6},
	withRedis:    {kindList: 0.6, kindFirstLeg: 0.5, kindSignedLeg: 0.4},
}

// judge reports every ratio that is below.
func (r ratios) judge() error {
	var errs []error
	for _, name := range []string{"gridbridge", withRedis} {
		for _, kind := range []string{kindList, kindFirstLeg, kindSignedLeg} {
			if got, least := r[name][kind], leastOfBare[name][kind]; !(got >= least) {
				errs = append(errs, fmt.Errorf("%s, %s: %.2f of bare Go's requests a second, want at least %g", name, kind, got, least))
			}
		}
	}
	return errors.Join(errs...)
}

func (r ratios) String() string {
	text := fmt.Sprintf("%-22s %12s %12s %12s\n", "of bare Go's requests", kindList, kindFirstLeg, kindSignedLeg)
	for _, name := range []string{"gridbridge", withRedis} {
		text += fmt.Sprintf("%-22s %12.2f %12.2f %12.2f\n", name, r[name][kindList], r[name][kindFirstLeg], r[name][kindSignedLeg])
	}
	return text
}

// figures are those of one candidate.
type figures struct {
	rate     float64 // requests a second
	p50, p99 time.Duration

	fresh, resident, idle int // kB: right after the start, after the load, and with a thousand clients who wait
}

func (f figures) String() string {
	return fmt.Sprintf("%10.0f %10s %10s %9d kB %9d kB %15d kB", f.rate, f.p50, f.p99, f.fresh, f.resident, f.idle)
}

// parseFigures reads what wrk prints. An answer other than 2xx is an error: a
// refusal is fast.
func parseFigures(out []byte) (f figures, err error) {
	if bytes.Contains(out, []byte("Non-2xx")) {
		return f, fmt.Errorf("answers other than 2xx:\n%s", out)
	}
	var errs [3]error
	seen := 0
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		name, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		value = strings.TrimSpace(value)
		switch name {
		case "Requests/sec:":
			f.rate, errs[0] = strconv.ParseFloat(value, 64)
		case "50%":
			f.p50, errs[1] = time.ParseDuration(value)
		case "99%":
			f.p99, errs[2] = time.ParseDuration(value)
		default:
			continue
		}
		seen++
	}
	if err := errors.Join(errs[:]...); err != nil || seen != len(errs) {
		return f, fmt.Errorf("no figures in what wrk prints: %w:\n%s", err, out)
	}
	return f, nil
}

// judge reports every limit of wrk's figures that the bridge does not hold.
func judge(measured map[string]figures) error {
	ours, bare := measured["gridbridge"], measured["bare Go"]
	var errs []error
	miss := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if express, ok := measured["Express"]; ok && ours.rate/express.rate < leastOfExpress {
		miss("%.2f times Express's requests a second, want at least %g", ours.rate/express.rate, leastOfExpress)
	}
	if ratio := float64(ours.p99) / float64(bare.p99); ratio > mostOfBareP99 {
		miss("a p99 of %.2f times bare Go's, want at most %g", ratio, mostOfBareP99)
	}
	if ratio := float64(measured[redisHung].p99) / float64(ours.p99); ratio > mostOfHungP99 {
		miss("a p99 of %.2f times its own while Redis hangs, want at most %g", ratio, mostOfHungP99)
	}
	if ours.idle > mostResident {
		miss("%d kB resident with a thousand clients, want at most %d", ours.idle, mostResident)
	}
	if more := ours.idle - ours.fresh; more > mostForClients {
		miss("%d kB for a thousand clients, want at most %d", more, mostForClients)
	}
	return errors.Join(errs...)
}

// resident is what the system has of the process in memory, in kB.
func resident(pid int) (int, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmRSS:" {
			return strconv.Atoi(f[1])
		}
	}
	return 0, errors.Join(fmt.Errorf("process %d has nothing in memory", pid), err)
}
