package main

import (
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
		{"slower-than-bare", func(m map[string]figures) { m["bare Go"] = figures{rate: 12600, p99: time.Millisecond} }, "0.79 of bare Go's"},
		{"near-express", func(m map[string]figures) { m["Express"] = figures{rate: 4100} }, "2.44 times Express's"},
		{"long-tail", func(m map[string]figures) { m["bare Go"] = figures{rate: 10000, p99: 900 * time.Microsecond} }, "p99"},
		{"large", func(m map[string]figures) {
			m["gridbridge"] = figures{rate: 10000, p99: 2 * time.Millisecond, idle: 64<<10 + 1}
		}, "resident"},
	} {
		measured := map[string]figures{
			"bare Go": {rate: 12500, p99: time.Millisecond}, "Express": {rate: 4000},
			"gridbridge": {rate: 10000, p99: 2 * time.Millisecond, idle: 64 << 10},
		}
		v.change(measured)
		err := judge(measured)
		if (err == nil) != (v.want == "") || err != nil && !strings.Contains(err.Error(), v.want) {
			t.Errorf("%s: error = %v, want one with %q", v.name, err, v.want)
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
