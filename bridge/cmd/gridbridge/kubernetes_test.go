package main

import (
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

	"go.yaml.in/yaml/v2"
)

// What the test reads of the manifests. That there is nothing else in them than the API server
// knows, and all of its type, is for bridge/deploy, which has the API server's own types.
type (
	kubeObject struct {
		APIVersion string            `yaml:"apiVersion"`
		Kind       string            `yaml:"kind"`
		Metadata   kubeMeta          `yaml:"metadata"`
		Data       map[string]string `yaml:"data"`
	}
	kubeMeta struct {
		Name   string            `yaml:"name"`
		Labels map[string]string `yaml:"labels"`
	}
	kubeSelector struct {
		MatchLabels map[string]string `yaml:"matchLabels"`
	}
	kubeDeployment struct {
		kubeObject `yaml:",inline"`
		Spec       struct {
			Replicas int          `yaml:"replicas"`
			Selector kubeSelector `yaml:"selector"`
			Template struct {
				Metadata kubeMeta `yaml:"metadata"`
				Spec     kubePod  `yaml:"spec"`
			} `yaml:"template"`
		} `yaml:"spec"`
	}
	kubePod struct {
		AutomountServiceAccountToken  *bool          `yaml:"automountServiceAccountToken"`
		EnableServiceLinks            *bool          `yaml:"enableServiceLinks"`
		TerminationGracePeriodSeconds int            `yaml:"terminationGracePeriodSeconds"`
		SecurityContext               map[string]any `yaml:"securityContext"`
		TopologySpreadConstraints     []struct {
			LabelSelector kubeSelector `yaml:"labelSelector"`
		} `yaml:"topologySpreadConstraints"`
		Containers []kubeContainer `yaml:"containers"`
		Volumes    []struct {
			Name   string `yaml:"name"`
			Secret struct {
				SecretName  string `yaml:"secretName"`
				DefaultMode int    `yaml:"defaultMode"`
				Items       []struct {
					Key  string `yaml:"key"`
					Path string `yaml:"path"`
				} `yaml:"items"`
			} `yaml:"secret"`
		} `yaml:"volumes"`
	}
	kubeContainer struct {
		Args    []string `yaml:"args"`
		EnvFrom []struct {
			ConfigMapRef kubeMeta `yaml:"configMapRef"`
		} `yaml:"envFrom"`
		Env []struct {
			Name      string `yaml:"name"`
			Value     string `yaml:"value"`
			ValueFrom *struct {
				SecretKeyRef kubeMeta `yaml:"secretKeyRef"`
			} `yaml:"valueFrom"`
		} `yaml:"env"`
		Ports []struct {
			Name          string `yaml:"name"`
			ContainerPort int    `yaml:"containerPort"`
		} `yaml:"ports"`
		StartupProbe    kubeProbe      `yaml:"startupProbe"`
		LivenessProbe   kubeProbe      `yaml:"livenessProbe"`
		ReadinessProbe  kubeProbe      `yaml:"readinessProbe"`
		SecurityContext map[string]any `yaml:"securityContext"`
		VolumeMounts    []struct {
			Name      string `yaml:"name"`
			MountPath string `yaml:"mountPath"`
			ReadOnly  bool   `yaml:"readOnly"`
		} `yaml:"volumeMounts"`
	}
	kubeProbe struct {
		HTTPGet struct {
			Path string `yaml:"path"`
			Port string `yaml:"port"`
		} `yaml:"httpGet"`
		PeriodSeconds    int `yaml:"periodSeconds"`
		FailureThreshold int `yaml:"failureThreshold"`
	}
	kubeService struct {
		kubeObject `yaml:",inline"`
		Spec       struct {
			Selector map[string]string `yaml:"selector"`
			Ports    []struct {
				TargetPort string `yaml:"targetPort"`
			} `yaml:"ports"`
		} `yaml:"spec"`
	}
	kubeBudget struct {
		kubeObject `yaml:",inline"`
		Spec       struct {
			Selector kubeSelector `yaml:"selector"`
		} `yaml:"spec"`
	}
	kubePolicy struct {
		kubeObject `yaml:",inline"`
		Spec       struct {
			PodSelector kubeSelector `yaml:"podSelector"`
			PolicyTypes []string     `yaml:"policyTypes"`
			Ingress     []kubeRule   `yaml:"ingress"`
			Egress      []kubeRule   `yaml:"egress"`
		} `yaml:"spec"`
	}
	kubeRule struct {
		From  []any `yaml:"from"`
		Ports []struct {
			Port string `yaml:"port"`
		} `yaml:"ports"`
	}
)

// TestKubernetes wants the figures and names of the manifests to fit together and the program.
func TestKubernetes(t *testing.T) {
	var config kubeObject
	var deployment kubeDeployment
	var service kubeService
	var budget kubeBudget
	var policy kubePolicy
	objects := []any{&config, &deployment, &service, &budget, &policy}
	documents := strings.Split(readFile(t, deployDir+"/kubernetes.yaml"), "\n---\n")
	if len(documents) != len(objects) {
		t.Fatalf("%d documents, want %d", len(documents), len(objects))
	}
	for i, text := range documents {
		if err := yaml.Unmarshal([]byte(text), objects[i]); err != nil {
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
	if len(pod.Containers) != 1 || len(pod.TopologySpreadConstraints) != 1 || deployment.Spec.Replicas < 2 {
		t.Fatalf("deployment = %+v", deployment.Spec)
	}
	for i, labels := range []map[string]string{
		deployment.Spec.Selector.MatchLabels, service.Spec.Selector, budget.Spec.Selector.MatchLabels, policy.Spec.PodSelector.MatchLabels, pod.TopologySpreadConstraints[0].LabelSelector.MatchLabels,
	} {
		if !maps.Equal(labels, deployment.Spec.Template.Metadata.Labels) {
			t.Errorf("selector %d is %v, want the labels of the pods, %v", i, labels, deployment.Spec.Template.Metadata.Labels)
		}
	}

	// The program is started as the kubelet starts it.
	c := pod.Containers[0]
	env := maps.Clone(config.Data)
	if len(c.EnvFrom) != 1 || c.EnvFrom[0].ConfigMapRef.Name != config.Metadata.Name {
		t.Errorf("envFrom = %+v, want the ConfigMap", c.EnvFrom)
	}
	if len(c.VolumeMounts) != 1 || len(pod.Volumes) != 1 || c.VolumeMounts[0].Name != pod.Volumes[0].Name || !c.VolumeMounts[0].ReadOnly {
		t.Fatalf("mounts %+v of %+v", c.VolumeMounts, pod.Volumes)
	}
	secrets := t.TempDir()
	for _, item := range pod.Volumes[0].Secret.Items {
		writeFile(t, filepath.Join(secrets, item.Path), strings.Repeat(item.Key, 5)+"\n", 0o400)
	}
	if mode := pod.Volumes[0].Secret.DefaultMode; mode != 0o440 {
		t.Errorf("secrets have mode %o, want 440: of root and of the group", mode)
	}
	for _, v := range c.Env {
		switch {
		case v.ValueFrom == nil:
			env[v.Name] = strings.Replace(v.Value, c.VolumeMounts[0].MountPath, secrets, 1)
		case v.ValueFrom.SecretKeyRef.Name == pod.Volumes[0].Secret.SecretName:
			env[v.Name] = "redis://gridbridge:password@redis:6379/0"
		default:
			t.Errorf("%s comes from %+v", v.Name, v.ValueFrom)
		}
	}
	s := configured(t, c.Args, env)

	ports := map[string]string{} // by name
	for _, port := range c.Ports {
		ports[port.Name] = ":" + strconv.Itoa(port.ContainerPort)
	}
	if want := map[string]string{"http": s.listen, "admin": s.adminListen}; !maps.Equal(ports, want) {
		t.Errorf("ports = %v, want %v", ports, want)
	}
	if len(service.Spec.Ports) != 1 || service.Spec.Ports[0].TargetPort != "http" {
		t.Errorf("the service has ports %+v, want users' alone", service.Spec.Ports)
	}
	for i, port := range []string{"http", "admin"} {
		rule := policy.Spec.Ingress[i]
		if len(policy.Spec.Ingress) != 2 || len(rule.From) != 1 || len(rule.Ports) != 1 || rule.Ports[0].Port != port {
			t.Errorf("who may reach %s: %+v", port, policy.Spec.Ingress)
		}
	}
	if want := []string{"Ingress", "Egress"}; !slices.Equal(policy.Spec.PolicyTypes, want) {
		t.Errorf("the policy is of %v, want %v", policy.Spec.PolicyTypes, want)
	}
	reachable := map[string]bool{}
	for _, rule := range policy.Spec.Egress {
		for _, port := range rule.Ports {
			reachable[port.Port] = true
		}
	}
	app, errApp := url.Parse(s.forwardAuth)
	redis, errRedis := url.Parse(s.redisURL)
	if errApp != nil || errRedis != nil || !maps.Equal(reachable, map[string]bool{"53": true, "443": true, app.Port(): true, redis.Port(): true}) {
		t.Errorf("ports that it may call = %v, %v, %v", reachable, errApp, errRedis)
	}

	admin := adminHandler(t.Context(), newRegistry())
	for name, probe := range map[string]kubeProbe{"/healthz": c.LivenessProbe, "/healthz at the start": c.StartupProbe, "/readyz": c.ReadinessProbe} {
		answer := httptest.NewRecorder()
		admin.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, probe.HTTPGet.Path, nil))
		if want := strings.Fields(name)[0]; probe.HTTPGet.Path != want || probe.HTTPGet.Port != "admin" || answer.Code != 200 {
			t.Errorf("%s: %+v is answered with %d", name, probe.HTTPGet, answer.Code)
		}
	}
	if seen := time.Duration(c.ReadinessProbe.PeriodSeconds*c.ReadinessProbe.FailureThreshold) * time.Second; seen >= s.drainDelay {
		t.Errorf("not being ready is seen after %s, and the drain is over after %s", seen, s.drainDelay)
	}
	if grace := time.Duration(pod.TerminationGracePeriodSeconds) * time.Second; grace <= longestStop(s) {
		t.Errorf("grace = %s, want more than %s", grace, longestStop(s))
	}

	no, id := false, 65532
	for _, v := range []struct {
		name      string
		got, want any
	}{
		{"pod", pod.SecurityContext, map[string]any{"runAsNonRoot": true, "runAsUser": id, "runAsGroup": id, "fsGroup": id, "seccompProfile": map[any]any{"type": "RuntimeDefault"}}},
		{"container", c.SecurityContext, map[string]any{"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": map[any]any{"drop": []any{"ALL"}}}},
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
