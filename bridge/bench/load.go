package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"gridsigner/signer"
)

const (
	connections = 64
	sliceLength = 512 // requests
)

// load sends prepared requests over connections that stay open. It must be cheap: it
// shares the processors with what it measures.
type load struct {
	conns []net.Conn
}

func newLoad(address string) (*load, error) {
	l := &load{}
	for range connections {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			l.close()
			return nil, err
		}
		l.conns = append(l.conns, conn)
	}
	return l, nil
}

func (l *load) close() {
	for _, conn := range l.conns {
		conn.Close()
	}
}

// send sends each request once, one after the other on each connection, and returns how
// many were answered in a second. An answer with another status than want is an error.
// With kept the bodies are there afterwards, in the order of the requests.
func (l *load) send(requests [][]byte, want int, kept [][]byte) (rate float64, err error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // as wrk -t1: one processor, whose goroutines need not wake each other
	var all sync.WaitGroup
	var next atomic.Int64
	errs := make([]error, len(l.conns))
	begin := time.Now()
	for i, conn := range l.conns {
		all.Go(func() {
			buffer := make([]byte, 8<<10)
			for at := int(next.Add(1) - 1); at < len(requests) && errs[i] == nil; at = int(next.Add(1) - 1) {
				var body []byte
				if body, errs[i] = exchange(conn, requests[at], want, buffer); kept != nil {
					kept[at] = bytes.Clone(body)
				}
			}
		})
	}
	all.Wait()
	took := time.Since(begin)
	for _, err := range errs {
		if err != nil {
			return 0, err
		}
	}
	return float64(len(requests)) / took.Seconds(), nil
}

// exchange sends a request and reads the answer into buffer. It reads as much of HTTP as
// the candidates use: a length or, with 204, no body.
func exchange(conn net.Conn, request []byte, want int, buffer []byte) (body []byte, err error) {
	if _, err := conn.Write(request); err != nil {
		return nil, err
	}
	have, length := 0, -1
	for {
		if have == len(buffer) {
			return nil, fmt.Errorf("an answer over %d bytes", have)
		}
		n, err := conn.Read(buffer[have:])
		if err != nil {
			return nil, err
		}
		have += n
		head, rest, whole := bytes.Cut(buffer[:have], []byte("\r\n\r\n"))
		if !whole {
			continue
		}
		if length < 0 {
			if len(head) < 12 || string(head[9:12]) != strconv.Itoa(want) {
				return nil, fmt.Errorf("an answer is not %d:\n%s", want, buffer[:have])
			}
			_, text, _ := bytes.Cut(head, []byte("\r\nContent-Length: "))
			text, _, _ = bytes.Cut(text, []byte("\r"))
			if length, err = strconv.Atoi(string(text)); err != nil && want != 204 {
				return nil, fmt.Errorf("an answer without a length:\n%s", head)
			}
		}
		if len(rest) >= length {
			return rest, nil
		}
	}
}

// prepared are the requests of a slice, of each user in turn.
type prepared struct{ lists, firstLegs [][]byte }

// prepare makes the requests that need no challenge. A session is revoked again and
// again: this Grid forgets at once.
func prepare(tokens []string) (t prepared) {
	for i := range sliceLength {
		user := i % len(tokens)
		t.lists = append(t.lists, fmt.Appendf(nil, "GET /api/grid/auth/sessions?accountId=%s HTTP/1.1\r\nHost: bench.example\r\nAuthorization: Bearer %s\r\n\r\n", account(user), tokens[user]))
		t.firstLegs = append(t.firstLegs, revocation(user, tokens[user], ""))
	}
	return t
}

// revocation is a leg of one, the second with headers.
func revocation(user int, token, headers string) []byte {
	return fmt.Appendf(nil, "DELETE /api/grid/auth/sessions/%s HTTP/1.1\r\nHost: bench.example\r\nAuthorization: Bearer %s\r\nX-Gridsigner: 1\r\n%s\r\n", session(account(user)), token, headers)
}

// signedLegs are the second legs to the challenges that were answered to first legs.
func signedLegs(key *signer.Key, tokens []string, challenges [][]byte) ([][]byte, error) {
	legs, errs := make([][]byte, len(challenges)), make([]error, runtime.GOMAXPROCS(0))
	var all sync.WaitGroup
	for worker := range errs {
		all.Go(func() {
			for i := worker; i < len(challenges); i += len(errs) {
				challenge, err := signer.ParseChallenge(challenges[i])
				if err != nil {
					errs[worker] = err
					return
				}
				signed, err := signer.SignChallenge(context.Background(), key, challenge, signer.SignOptions{Intent: signer.Intent{Name: signer.RevokeSession}}, time.Now())
				if err != nil {
					errs[worker] = err
					return
				}
				user := i % len(tokens)
				legs[i] = revocation(user, tokens[user], signer.HeaderSignature+": "+signed.Header+"\r\n"+signer.HeaderRequestID+": "+signed.RequestID+"\r\n")
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return legs, nil
}

// measureRatios measures, of each kind of request, how many the bridges answer in a second
// beside bare Go. They take turns, for twice duration each, in slices of a fraction of a
// second, so that whatever else the machine is doing hits all of them; the median of the
// slices' ratios counts.
//
// A first turn is not counted: in it the bridges look the owners up, which they then
// remember, as they do once a page has listed.
func measureRatios(key *ecdsa.PrivateKey, bare process, bridges []process, duration time.Duration) (ratios, error) {
	tokens := make([]string, users)
	for i := range tokens {
		var err error
		if tokens[i], err = token(key, i); err != nil {
			return nil, err
		}
	}
	sessionKey, err := signer.GenerateP256()
	if err != nil {
		return nil, err
	}
	beside, err := newLoad(bare.address)
	if err != nil {
		return nil, err
	}
	defer beside.close()
	all, loads := map[string]map[string][]float64{}, map[string]*load{}
	for _, p := range bridges {
		if loads[p.name], err = newLoad(p.address); err != nil {
			return nil, err
		}
		defer loads[p.name].close()
	}
	t := prepare(tokens)
	for turns, begin := 0, time.Now(); turns < 2 || time.Since(begin) < 2*time.Duration(len(bridges))*duration; turns++ {
		for _, p := range bridges {
			turn, err := t.turn(loads[p.name], beside, tokens, sessionKey)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p.name, err)
			}
			if turns == 0 {
				all[p.name] = map[string][]float64{}
				continue
			}
			for kind, ratio := range turn {
				all[p.name][kind] = append(all[p.name][kind], ratio)
			}
		}
	}
	medians := ratios{}
	for name := range all {
		medians[name] = map[string]float64{}
		for kind, list := range all[name] {
			slices.Sort(list)
			medians[name][kind] = list[len(list)/2]
		}
	}
	return medians, nil
}

// turn sends a slice of each kind to a bridge, and the same requests to bare Go.
func (t prepared) turn(bridge, bare *load, tokens []string, key *signer.Key) (map[string]float64, error) {
	ratios := map[string]float64{}
	compare := func(kind string, requests [][]byte, want int, kept [][]byte) error {
		ours, err := bridge.send(requests, want, kept)
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		theirs, err := bare.send(requests, want, nil)
		if err != nil {
			return fmt.Errorf("%s of bare Go: %w", kind, err)
		}
		ratios[kind] = ours / theirs
		return nil
	}
	challenges := make([][]byte, len(t.firstLegs))
	if err := errors.Join(compare(kindList, t.lists, 200, nil), compare(kindFirstLeg, t.firstLegs, 202, challenges)); err != nil {
		return nil, err
	}
	signed, err := signedLegs(key, tokens, challenges)
	if err == nil {
		err = compare(kindSignedLeg, signed, 204, nil)
	}
	return ratios, err
}
