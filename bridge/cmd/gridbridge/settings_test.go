package main

import (
	"os"
	"strings"
	"testing"
)

func TestSettingsFromEnvironment(t *testing.T) {
	env := map[string]string{
		"GRIDBRIDGE_ISSUER": "env", "GRIDBRIDGE_AUDIENCE": "env", "GRIDBRIDGE_LIMIT_USER": "1/1m,2",
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
	if s.issuer != "flag" || s.audience != "env" || s.origins.String() != "https://a.example,https://b.example" ||
		s.limits.User.String() != "1/1m0s,2" || s.proxies.String() != "10.0.0.0/8 ::1/128" {
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

// TestReadmeListsEverySetting holds the README's table against the flags. With
// UPDATE_README=1 it writes the table.
func TestReadmeListsEverySetting(t *testing.T) {
	const file, begin, end = "../../../README.md", "<!-- settings: made by the tests -->\n", "<!-- end of settings -->"
	table := settingsTable()
	text, err := os.ReadFile(file)
	before, rest, ok := strings.Cut(string(text), begin)
	got, after, ok2 := strings.Cut(rest, end)
	if err != nil || !ok || !ok2 {
		t.Fatalf("README.md has no section between %q and %q", begin, end)
	}
	if os.Getenv("UPDATE_README") != "" {
		got = table
		if err := os.WriteFile(file, []byte(before+begin+table+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got != table {
		t.Errorf("README.md lists\n%s\nwant\n%s\nUPDATE_README=1 go test ./bridge/... writes it", got, table)
	}
}
