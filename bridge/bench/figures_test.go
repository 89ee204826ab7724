package main

import (
	"io"
	"maps"
	"math"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func TestParseFigures(t *testing.T) {
	const out = `Running 4s test @ http://127.0.0.1:8080
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     6.02ms    2.75ms  44.63ms   81.05%
    Req/Sec    10.94k     1.00k   12.51k    72.50%
  Latency Distribution
     50%    5.42ms
     75%    7.06ms
     90%    9.24ms
     99%    1.02s 
  43533 requests in 4.00s, 9.22MB read
Requests/sec:  10872.73
Transfer/sec:      2.30MB
`
	got, err := parseFigures([]byte(out))
	if want := (figures{rate: 10872.73, p50: 5420 * time.Microsecond, p99: 1020 * time.Millisecond}); err != nil || got != want {
		t.Errorf("figures = %+v, %v, want %+v", got, err, want)
	}
	for name, out := range map[string]string{
		"refusals": out + "  Non-2xx or 3xx responses: 1\n", "nothing": "", "no-p99": strings.Replace(out, "99%", "98%", 1), "no-number": strings.Replace(out, "5.42ms", "nan", 1),
	} {
		if got, err := parseFigures([]byte(out)); err == nil {
			t.Errorf("%s: figures = %+v, want an error", name, got)
		}
	}
}

func TestJudge(t *testing.T) {
	for _, v := range []struct {
		name   string
		change func(map[string]figures)
		want   string // "" for nothing
	}{
		{"good", func(map[string]figures) {}, ""},
		{"no-express", func(m map[string]figures) { delete(m, "Express") }, ""},
		{"near-express", func(m map[string]figures) { m["Express"] = figures{rate: 4100} }, "2.44 times Express's"},
		{"long-tail", func(m map[string]figures) { m["bare Go"] = figures{rate: 10000, p99: 900 * time.Microsecond} }, "p99"},
		{"large", func(m map[string]figures) {
			m["gridbridge"] = figures{rate: 10000, p99: 2 * time.Millisecond, fresh: 30 << 10, idle: 64<<10 + 1}
		}, "resident"},
		{"large-for-clients", func(m map[string]figures) {
			m["gridbridge"] = figures{rate: 10000, p99: 2 * time.Millisecond, fresh: 20 << 10, idle: 60<<10 + 1}
		}, "40961 kB for a thousand clients"},
		{"hung", func(m map[string]figures) { m[redisHung] = figures{p99: 3001 * time.Microsecond} }, "while Redis hangs"},
	} {
		measured := map[string]figures{
			"bare Go": {rate: 12500, p99: time.Millisecond}, "Express": {rate: 4000},
			"gridbridge": {rate: 10000, p99: 2 * time.Millisecond, fresh: 24 << 10, idle: 64 << 10},
			redisHung:    {p99: 3 * time.Millisecond},
		}
		v.change(measured)
		err := judge(measured)
		if (err == nil) != (v.want == "") || err != nil && !strings.Contains(err.Error(), v.want) {
			t.Errorf("%s: error = %v, want one with %q", v.name, err, v.want)
		}
	}
}

// TestJudgeRatios takes each ratio below its limit, and away: what was not measured is not held.
func TestJudgeRatios(t *testing.T) {
	if err := leastOfBare.judge(); err != nil {
		t.Errorf("at the limits: %v", err)
	}
	for name, kinds := range leastOfBare {
		for kind, least := range kinds {
			for _, got := range []float64{least - 0.001, math.NaN(), 0} {
				measured := ratios{}
				for name := range leastOfBare {
					measured[name] = maps.Clone(leastOfBare[name])
				}
				measured[name][kind] = got
				if err := measured.judge(); err == nil || !strings.HasPrefix(err.Error(), name+", "+kind+":") || strings.Contains(err.Error(), "\n") {
					t.Errorf("%s, %s = %g: error = %v, want it and no other", name, kind, got, err)
				}
			}
		}
	}
}

// answering reads a request and writes an answer in two pieces, again and again.
func answering(t *testing.T, answer string) *load {
	t.Helper()
	var l load
	for range 2 {
		client, server := net.Pipe()
		t.Cleanup(func() { client.Close() })
		l.conns = append(l.conns, client)
		go func() {
			defer server.Close()
			for request := make([]byte, 64); ; {
				if _, err := server.Read(request); err != nil {
					return
				}
				io.WriteString(server, answer[:len(answer)/2])
				io.WriteString(server, answer[len(answer)/2:])
			}
		}()
	}
	return &l
}

func TestSend(t *testing.T) {
	requests := [][]byte{[]byte("1"), []byte("2"), []byte("3")}
	kept := make([][]byte, len(requests))
	rate, err := answering(t, "HTTP/1.1 202 Accepted\r\nContent-Length: 4\r\n\r\nbody").send(requests, 202, kept)
	if err != nil || rate <= 0 {
		t.Errorf("rate = %g, %v", rate, err)
	}
	for _, body := range kept {
		if string(body) != "body" {
			t.Errorf("body = %q", body)
		}
	}
	if _, err := answering(t, "HTTP/1.1 204 No Content\r\n\r\n").send(requests, 204, nil); err != nil {
		t.Error(err)
	}
	for name, answer := range map[string]string{
		"refusal": "HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n", "no-length": "HTTP/1.1 202 Accepted\r\n\r\n",
	} {
		if _, err := answering(t, answer).send(requests, 202, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestResident(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("needs /proc, which Linux has")
	}
	if kB, err := resident(os.Getpid()); err != nil || kB < 1000 {
		t.Errorf("this process = %d kB, %v", kB, err)
	}
}
