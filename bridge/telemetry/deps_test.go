package telemetry

import (
	"os/exec"
	"strings"
	"testing"
)

// TestDependencies keeps out what the exporter that most programs use would bring.
func TestDependencies(t *testing.T) {
	forbidden := map[string]string{
		"google.golang.org/grpc": "adds 13 MB to the program, and OTLP over HTTP uses nothing of it",
		"golang.org/x/net/trace": "registers debug pages with http.DefaultServeMux",
	}
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	for _, dep := range deps {
		if why, ok := forbidden[dep]; ok {
			t.Errorf("telemetry imports %s: %s", dep, why)
		}
	}
	if len(deps) < 50 {
		t.Errorf("go list named %d packages: the test looks at nothing", len(deps))
	}
}
