package main

import (
	"flag"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"gridsigner/bridge"
	"gridsigner/bridge/gridsim"
	"gridsigner/bridge/internal/readme"
	"gridsigner/signer"
)

func TestSettingsFromEnvironment(t *testing.T) {
	env := map[string]string{
		"GRIDBRIDGE_ISSUER": "env", "GRIDBRIDGE_AUDIENCE": "env", "GRIDBRIDGE_LIMIT_USER": "1/1m,2", "GRIDBRIDGE_PAYLOADS": "activities",
		"GRIDBRIDGE_ALLOW_ORIGIN": "https://a.example,https://b.example", "GRIDBRIDGE_TRUSTED_PROXY": "10.0.0.1/8,::1",
	}
	var s settings
	f := s.flags()
	if err := f.Parse([]string{"--issuer", "flag"}); err != nil {
		t.Fatal(err)
	}
	if err := fromEnv(f, func(name string) string { return env[name] }); err != nil {
		t.Fatal(err)
	}
	if s.issuers.String() != "flag" || s.audiences.String() != "env" || s.origins.String() != "https://a.example,https://b.example" ||
		s.payloads != signer.PayloadsActivities || s.limits.User.String() != "1/1m0s,2" || s.proxies.String() != "10.0.0.0/8 ::1/128" {
		t.Errorf("settings = %+v", s)
	}
	for name, value := range map[string]string{"GRIDBRIDGE_LIMIT_USER": "many", "GRIDBRIDGE_TRUSTED_PROXY": "nobody", "GRIDBRIDGE_MAX_IN_FLIGHT": "x"} {
		var s settings
		err := fromEnv(s.flags(), func(n string) string { return map[string]string{name: value}[n] })
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%s: error = %v, want one that names it", name, value, err)
		}
	}
}

// TestTrustedProxies wants addresses and networks. Which are too wide the bridge says.
func TestTrustedProxies(t *testing.T) {
	for value, want := range map[string]string{ // "" for one that is refused
		"10.1.2.3":          "10.1.2.3/32",
		"10.0.0.0/8":        "10.0.0.0/8",
		"fc00::/7":          "fc00::/7",
		"::1":               "::1/128",
		"unix":              "unix",
		"10.0.0.0/33":       "",
		"proxy.internal":    "",
		"10.0.0.1,10.0.0.2": "",
		"fe80::1%eth0/64":   "",
		"2001:db8::/32":     "2001:db8::/32",
	} {
		var p proxies
		if err := p.Set(value); (err == nil) != (want != "") || p.String() != want {
			t.Errorf("%s = %q, %v; want %q", value, p.String(), err, want)
		}
	}
}

// TestSimulatorFlags tests that each flag of the simulator reaches it.
func TestSimulatorFlags(t *testing.T) {
	var simulate simulator
	standard := gridsim.Config{
		Profile: gridsim.Modern, ChallengeTTL: 5 * time.Minute, SessionTTL: 15 * time.Minute, OTPTTL: 5 * time.Minute, NotFoundCode: gridsim.DefaultNotFoundCode,
	}
	if err := simulate.flags().Parse(nil); err != nil || !reflect.DeepEqual(simulate.config, standard) {
		t.Errorf("with no flags: %+v, %v", simulate.config, err)
	}
	var demo demonstration
	err := demo.flags().Parse([]string{
		"--profile", "legacy-2026-04", "--challenge-ttl", "1s", "--session-ttl", "2s", "--processing-replies", "3", "--rate-limit", "4",
		"--p256-only", "--lenient-stamps", "--allow-magic", "--consume-on-failure", "--not-found-code", "GONE", "--control",
		"--otp-ttl", "3s", "--rp-id", "example.com", "--origin", "https://a.example.com", "--origin", "https://b.example.com", "--prod-strict", "--sandbox-export",
	})
	want := gridsim.Config{
		Profile: gridsim.Legacy202604, ChallengeTTL: time.Second, SessionTTL: 2 * time.Second, ProcessingReplies: 3, RateLimit: 4,
		P256Only: true, LenientStamp: true, AllowMagic: true, ConsumeOnFailure: true, NotFoundCode: "GONE", Control: true,
		OTPTTL: 3 * time.Second, RPID: "example.com", Origins: []string{"https://a.example.com", "https://b.example.com"}, ProdStrict: true, SandboxExport: true,
		SeedEmailOTP: true,
	}
	if err != nil || !reflect.DeepEqual(demo.config, want) {
		t.Errorf("got  %+v, %v\nwant %+v", demo.config, err, want)
	}
}

// TestHeadersFromEnvironment has commas in a header, of which a list is no list
// of headers.
func TestHeadersFromEnvironment(t *testing.T) {
	for value, want := range map[string][]string{
		"Cookie: a=1,b":             {"Cookie: a=1,b"},
		"Cookie: a=1,b\nX-App: c\n": {"Cookie: a=1,b", "X-App: c"},
	} {
		var c checker
		if err := fromEnv(c.flags(), func(name string) string { return map[string]string{"GRIDBRIDGE_HEADER": value}[name] }); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(c.headers.list, want) {
			t.Errorf("%q = %q, want %q", value, c.headers, want)
		}
	}
}

// setting is a variable of the environment that has no flag: what ps shows of a
// command line is no place for a secret.
type setting struct{ name, preset, usage string }

// settingsTables are the README's tables of all flags and variables.
func settingsTables() string {
	code := func(s string) string {
		if s == "" {
			return ""
		}
		return "`" + s + "`"
	}
	var b strings.Builder
	table := func(flags *flag.FlagSet, others ...setting) {
		fmt.Fprintf(&b, "\n`gridbridge %s`:\n\n", flags.Name())
		variables := len(others) > 0
		if variables {
			b.WriteString("| Flag | Variable | Default | Meaning |\n|---|---|---|---|\n")
		} else {
			b.WriteString("| Flag | Default | Meaning |\n|---|---|---|\n")
		}
		for _, v := range others {
			fmt.Fprintf(&b, "| | `%s` | %s | %s |\n", v.name, code(v.preset), v.usage)
		}
		flags.VisitAll(func(f *flag.Flag) {
			value, usage := flag.UnquoteUsage(f)
			fmt.Fprintf(&b, "| `--%s` ", strings.TrimSpace(f.Name+" "+value))
			if variables {
				fmt.Fprintf(&b, "| `%s` ", variable(f.Name))
			}
			fmt.Fprintf(&b, "| %s | %s |\n", code(f.DefValue), usage)
		})
	}
	table(new(settings).flags(),
		setting{"GRID_BASE_URL", bridge.DefaultUpstream, "Grid's base URL, which ends in its version; on loopback it need not"},
		setting{"GRID_CLIENT_ID", "", "API client id; or its file in GRID_CLIENT_ID_FILE. Required"},
		setting{"GRID_CLIENT_SECRET", "", "API client secret; or its file in GRID_CLIENT_SECRET_FILE. Required. Files are read again every ten seconds, and when Grid refuses what they say"},
		setting{"GRIDBRIDGE_KEY", "", "secret of all replicas, of 32 characters or more; or its file in GRIDBRIDGE_KEY_FILE. The API client secret if it is not set"},
		setting{"OTEL_EXPORTER_OTLP_HEADERS", "", "headers for the collector of --otlp, as name=value with commas in between"})
	table(new(checker).flags(),
		setting{"GRID_CLIENT_SECRET", "", "the bridge's API client secret, if it is known here, or its file in GRID_CLIENT_SECRET_FILE: no answer may hold it. GRID_CLIENT_ID likewise, with it"})
	table(new(simulator).flags())
	table(new(demonstration).flags())
	return b.String() + "\n"
}

// TestReadmeListsEverySetting holds the README's tables against the flags. With
// UPDATE_README=1 it writes them.
func TestReadmeListsEverySetting(t *testing.T) {
	readme.Hold(t, "../../README.md", "<!-- settings: made by the tests -->\n", "<!-- end of settings -->", settingsTables())
}
