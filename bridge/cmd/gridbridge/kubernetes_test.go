package main

import (
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	kubejson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// TestKubernetes decodes the manifests as the API server does, for which a field that it
// does not know is an error, and wants their figures and names to fit together and the
// program.
func TestKubernetes(t *testing.T) {
	var config corev1.ConfigMap
	var deployment appsv1.Deployment
	var service corev1.Service
	var budget policyv1.PodDisruptionBudget
	var policy networkingv1.NetworkPolicy
	objects := []any{&config, &deployment, &service, &budget, &policy}
	documents := strings.Split(readFile(t, deployDir+"/kubernetes.yaml"), "\n---\n")
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
			t.Fatal(err)
		}
	}
	for i, got := range []string{
		config.APIVersion + " " + config.Kind, deployment.APIVersion + " " + deployment.Kind, service.APIVersion + " " + service.Kind,
		budget.APIVersion + " " + budget.Kind, policy.APIVersion + " " + policy.Kind,
	} {
		if want := []string{"v1 ConfigMap", "apps/v1 Deployment", "v1 Service", "policy/v1 PodDisruptionBudget", "networking.k8s.io/v1 NetworkPolicy"}[i]; got != want {
			t.Errorf("document %d is a %s, want %s", i+1, got, want)
		}
	}

	pod := deployment.Spec.Template.Spec
	if len(pod.Containers) != 1 || len(pod.TopologySpreadConstraints) != 1 || *deployment.Spec.Replicas < 2 {
		t.Fatalf("deployment = %+v", deployment.Spec)
	}
	for i, labels := range []map[string]string{
		deployment.Spec.Selector.MatchLabels, service.Spec.Selector, budget.Spec.Selector.MatchLabels, policy.Spec.PodSelector.MatchLabels, pod.TopologySpreadConstraints[0].LabelSelector.MatchLabels,
	} {
		if !maps.Equal(labels, deployment.Spec.Template.Labels) {
			t.Errorf("selector %d is %v, want the labels of the pods, %v", i, labels, deployment.Spec.Template.Labels)
		}
	}

	// The program is started as the kubelet starts it.
	c := pod.Containers[0]
	env := maps.Clone(config.Data)
	if len(c.EnvFrom) != 1 || c.EnvFrom[0].ConfigMapRef == nil || c.EnvFrom[0].ConfigMapRef.Name != config.Name {
		t.Errorf("envFrom = %+v, want the ConfigMap", c.EnvFrom)
	}
	if len(c.VolumeMounts) != 1 || len(pod.Volumes) != 1 || c.VolumeMounts[0].Name != pod.Volumes[0].Name || !c.VolumeMounts[0].ReadOnly {
		t.Fatalf("mounts %+v of %+v", c.VolumeMounts, pod.Volumes)
	}
	secrets := t.TempDir()
	for _, item := range pod.Volumes[0].Secret.Items {
		writeFile(t, filepath.Join(secrets, item.Path), strings.Repeat(item.Key, 5)+"\n", 0o400)
	}
	if mode := *pod.Volumes[0].Secret.DefaultMode; mode != 0o440 {
		t.Errorf("secrets have mode %o, want 440: of root and of the group", mode)
	}
	for _, v := range c.Env {
		switch {
		case v.ValueFrom == nil:
			env[v.Name] = strings.Replace(v.Value, c.VolumeMounts[0].MountPath, secrets, 1)
		case v.ValueFrom.SecretKeyRef != nil && v.ValueFrom.SecretKeyRef.Name == pod.Volumes[0].Secret.SecretName:
			env[v.Name] = "redis://gridbridge:password@redis:6379/0"
		default:
			t.Errorf("%s comes from %+v", v.Name, v.ValueFrom)
		}
	}
	s := configured(t, c.Args, env)

	ports := map[string]string{} // by name
	for _, port := range c.Ports {
		ports[port.Name] = ":" + strconv.Itoa(int(port.ContainerPort))
	}
	if want := map[string]string{"http": s.listen, "admin": s.adminListen}; !maps.Equal(ports, want) {
		t.Errorf("ports = %v, want %v", ports, want)
	}
	if len(service.Spec.Ports) != 1 || service.Spec.Ports[0].TargetPort.StrVal != "http" {
		t.Errorf("the service has ports %+v, want users' alone", service.Spec.Ports)
	}
	for i, port := range []string{"http", "admin"} {
		rule := policy.Spec.Ingress[i]
		if len(policy.Spec.Ingress) != 2 || len(rule.From) != 1 || len(rule.Ports) != 1 || rule.Ports[0].Port.StrVal != port {
			t.Errorf("who may reach %s: %+v", port, policy.Spec.Ingress)
		}
	}
	if want := []networkingv1.PolicyType{"Ingress", "Egress"}; !slices.Equal(policy.Spec.PolicyTypes, want) {
		t.Errorf("the policy is of %v, want %v", policy.Spec.PolicyTypes, want)
	}
	reachable := map[string]bool{}
	for _, rule := range policy.Spec.Egress {
		for _, port := range rule.Ports {
			reachable[port.Port.String()] = true
		}
	}
	app, errApp := url.Parse(s.forwardAuth)
	redis, errRedis := url.Parse(s.redisURL)
	if errApp != nil || errRedis != nil || !maps.Equal(reachable, map[string]bool{"53": true, "443": true, app.Port(): true, redis.Port(): true}) {
		t.Errorf("ports that it may call = %v, %v, %v", reachable, errApp, errRedis)
	}

	admin := adminHandler(t.Context(), newRegistry())
	for name, probe := range map[string]*corev1.Probe{"/healthz": c.LivenessProbe, "/healthz at the start": c.StartupProbe, "/readyz": c.ReadinessProbe} {
		answer := httptest.NewRecorder()
		admin.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, probe.HTTPGet.Path, nil))
		if want := strings.Fields(name)[0]; probe.HTTPGet.Path != want || probe.HTTPGet.Port.StrVal != "admin" || answer.Code != 200 {
			t.Errorf("%s: %+v is answered with %d", name, probe.HTTPGet, answer.Code)
		}
	}
	if seen := time.Duration(c.ReadinessProbe.PeriodSeconds*c.ReadinessProbe.FailureThreshold) * time.Second; seen >= s.drainDelay {
		t.Errorf("not being ready is seen after %s, and the drain is over after %s", seen, s.drainDelay)
	}
	if grace := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second; grace <= longestStop(s) {
		t.Errorf("grace = %s, want more than %s", grace, longestStop(s))
	}

	yes, no, id := true, false, int64(65532)
	for _, v := range []struct {
		name      string
		got, want any
	}{
		{"pod", pod.SecurityContext, &corev1.PodSecurityContext{RunAsNonRoot: &yes, RunAsUser: &id, RunAsGroup: &id, FSGroup: &id, SeccompProfile: &corev1.SeccompProfile{Type: "RuntimeDefault"}}},
		{"container", c.SecurityContext, &corev1.SecurityContext{AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}}},
		{"service links", pod.EnableServiceLinks, &no},
		{"service account token", pod.AutomountServiceAccountToken, &no},
	} {
		if !reflect.DeepEqual(v.got, v.want) {
			t.Errorf("%s = %+v, want %+v", v.name, v.got, v.want)
		}
	}
	if !strings.Contains(readFile(t, deployDir+"/Dockerfile"), "\nUSER 65532:65532\n") {
		t.Error("the image has another user")
	}
}
