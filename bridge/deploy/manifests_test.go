// Package deploy has a test of the manifests, and is a module of its own for the types of
// Kubernetes' API: whoever uses the bridge gets none of them. That the manifests fit the
// program is for the tests of gridbridge.
package deploy

import (
	"errors"
	"os"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	kubejson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// TestManifests decodes them as the API server does, for which a field that it does not know
// is an error.
func TestManifests(t *testing.T) {
	text, err := os.ReadFile("kubernetes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	objects := []any{&corev1.ConfigMap{}, &appsv1.Deployment{}, &corev1.Service{}, &policyv1.PodDisruptionBudget{}, &networkingv1.NetworkPolicy{}}
	documents := strings.Split(string(text), "\n---\n")
	if len(documents) != len(objects) {
		t.Fatalf("%d documents, want %d", len(documents), len(objects))
	}
	for i, text := range documents {
		document, err := yaml.YAMLToJSONStrict([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		wrong, err := kubejson.UnmarshalStrict(document, objects[i])
		if err := errors.Join(append(wrong, err)...); err != nil {
			t.Errorf("document %d: %v", i+1, err)
		}
	}
}
