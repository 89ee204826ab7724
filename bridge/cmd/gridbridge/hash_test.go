package main

import (
	"strings"
	"testing"

	"gridsigner/bridge"
)

// TestHash prints what the bridge writes into its audit, for an id in either case, and
// refuses what is no id.
func TestHash(t *testing.T) {
	const id = "Session:019542f5-b3e7-1d02-0000-0000000000ab"
	key := strings.Repeat("k", 32)
	want := bridge.AuditHash(bridge.NewSecret(key), id) + "\n"
	for argument, ok := range map[string]bool{id: true, strings.Replace(id, "ab", "AB", 1): true, "Session:1": false, "": false} {
		var out strings.Builder
		err := run(t.Context(), []string{"hash", argument}, func(name string) string { return map[string]string{"GRIDBRIDGE_KEY": key}[name] }, &out, &out)
		if (err == nil) != ok || ok && out.String() != want {
			t.Errorf("hash %q = %q, %v; want ok %t and %q", argument, out.String(), err, ok, want)
		}
	}
}
