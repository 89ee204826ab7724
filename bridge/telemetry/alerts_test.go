package telemetry

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v2"

	"gridsigner/bridge/internal/readme"
)

// TestAlerts holds the alerting rules against the metrics that there are and the values that
// their labels have, and the operators' page against the rules.
func TestAlerts(t *testing.T) {
	const file = "../deploy/alerts.yaml"
	text, err := os.ReadFile(file)
	page, errPage := os.ReadFile("../README.md")
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.UnmarshalStrict(text, &rules); err != nil {
		t.Fatal(err)
	}
	if err != nil || errPage != nil || len(rules.Groups) != 1 {
		t.Fatalf("%d groups, %v, %v", len(rules.Groups), err, errPage)
	}
	table := "| Alert | Urgency | What it means | What to do |\n|---|---|---|---|\n"
	for _, r := range rules.Groups[0].Rules {
		var labels []string
		for _, name := range regexp.MustCompile(`gridbridge_[a-z_]+`).FindAllString(r.Expr, -1) {
			i := slices.IndexFunc(Metrics(), func(m Metric) bool {
				return m.Name == name || m.Type == "histogram" && m.Name+"_bucket" == name
			})
			if i < 0 {
				t.Errorf("%s: there is no metric %s", r.Alert, name)
				continue
			}
			labels = append(labels, Metrics()[i].Labels...)
		}
		for _, m := range regexp.MustCompile(`([a-z]+)=~?"([^"]*)"`).FindAllStringSubmatch(r.Expr, -1) {
			if !slices.Contains(labels, m[1]) {
				t.Errorf("%s: no metric in it has a label %s", r.Alert, m[1])
			}
			for value := range strings.SplitSeq(m[2], "|") {
				if m[1] != "status" && value != "" && !strings.Contains(string(page), "`"+value+"`") {
					t.Errorf("%s: %s is never %s", r.Alert, m[1], value)
				}
			}
		}
		if r.Annotations["means"] == "" || r.Annotations["do"] == "" || !slices.Contains([]string{"page", "ticket"}, r.Labels["severity"]) {
			t.Errorf("%s: not all is said of it", r.Alert)
		}
		table += fmt.Sprintf("| `%s` | %s | %s | %s |\n", r.Alert, r.Labels["severity"], r.Annotations["means"], r.Annotations["do"])
	}
	readme.Hold(t, "../README.md", "<!-- alerts: made by the tests -->\n", "<!-- end of alerts -->", table)

	if promtool, err := exec.LookPath("promtool"); err == nil { // which comes with Prometheus
		if out, err := exec.Command(promtool, "check", "rules", file).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}
