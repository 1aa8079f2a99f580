package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v3"

	"github.com/strata-build/strata/internal/cache/places/placetest"
	"github.com/strata-build/strata/test/testbed"
)

// TestDeploy tries what is in deploy/ as far as it can be tried without a cluster, Docker's registry and systemd.
func TestDeploy(t *testing.T) {
	root, err := testbed.Root()
	if err != nil {
		t.Fatal(err)
	}
	strata, err := testbed.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for path, test := range map[string]func(t *testing.T, path, strata string){
		"compose.yaml": testCompose, "systemd/strata-worker.service": testService, "kubernetes/fleet": testManifests, "kubernetes/fleet/nats.yaml": testQueue,
	} {
		t.Run(path, func(t *testing.T) { test(t, filepath.Join(root, "deploy", path), strata) })
	}
}

// checkOptions holds a command line to the options that strata has.
func checkOptions(t *testing.T, strata string, args []string) {
	t.Helper()
	if len(args) == 0 || args[0] != "worker" {
		t.Fatalf("%q is no worker", args)
	}
	if out, err := exec.Command(strata, append(args, "--help")...).CombinedOutput(); err != nil {
		t.Errorf("strata %s: %s", strings.Join(args, " "), out)
	}
}

func testCompose(t *testing.T, path, strata string) {
	project, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir:  filepath.Dir(path),
		ConfigFiles: []types.ConfigFile{{Filename: path}},
		Environment: types.Mapping{"FLEET_HOST": "fleet.lan", "FLEET_ACCESS_KEY": "strata", "FLEET_SECRET_KEY": "very-secret"},
	})
	if err != nil {
		t.Fatal(err)
	}
	worker := project.Services["worker"]
	checkOptions(t, strata, worker.Command)
	if worker.Privileged || len(worker.CapAdd) > 0 {
		t.Error("the worker has rights that it does not need")
	}
	if got := *worker.Environment["AWS_SECRET_ACCESS_KEY"] + *project.Services["s3"].Environment["ROOT_SECRET_KEY"]; got != "very-secretvery-secret" {
		t.Errorf("the worker and the store have the keys %s", got)
	}
}

func testService(t *testing.T, path, strata string) {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	start := regexp.MustCompile(`(?m)^ExecStart=/usr/bin/strata (.*) \$STRATA_WORKER_OPTIONS$`).FindSubmatch(text)
	if start == nil {
		t.Fatal("there is no ExecStart")
	}
	checkOptions(t, strata, strings.Fields(string(start[1])))
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("needs systemd-analyze")
	}
	unit := filepath.Join(t.TempDir(), "strata-worker.service")
	if err := os.WriteFile(unit, bytes.ReplaceAll(text, []byte("/usr/bin/strata"), []byte(strata)), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", "--man=no", unit).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// testQueue starts three NATS servers with the configuration of deploy/kubernetes/fleet/nats.yaml, and a worker with the
// options of worker-amd64.yaml. It asks for what KEDA asks for.
func testQueue(t *testing.T, path, strata string) {
	if testing.Short() {
		t.Skip("needs ten seconds: run without -short")
	}
	if _, err := exec.LookPath("nats-server"); err != nil {
		t.Skip("needs nats-server")
	}
	path = filepath.Dir(path)
	dir := t.TempDir()
	conf, args := queueConfig(t, path), workerArgs(t, path)
	checkOptions(t, strata, args)
	if err := os.MkdirAll(filepath.Join(dir, "auth"), 0o755); err != nil {
		t.Fatal(err)
	}
	// A password that NATS would take for a number where it is not quoted.
	if err := os.WriteFile(filepath.Join(dir, "auth/auth.conf"), []byte(`authorization { user: strata, password: "12e5" }`), 0o600); err != nil {
		t.Fatal(err)
	}
	ports := freePorts(t, 9)
	client, cluster, monitor := ports[:3], ports[3:6], ports[6:]
	for i := range 3 {
		mine := conf
		for k := range 3 {
			mine = strings.Replace(mine, fmt.Sprintf("nats-%d.nats:6222", k), fmt.Sprintf("127.0.0.1:%d", cluster[k]), 1)
		}
		for from, to := range map[string]string{
			"port: 4222": fmt.Sprintf("port: %d", client[i]), "port: 6222": fmt.Sprintf("port: %d", cluster[i]),
			"http_port: 8222": fmt.Sprintf("http_port: %d", monitor[i]), "store_dir: /data": "store_dir: " + filepath.Join(dir, fmt.Sprint("data", i)),
		} {
			if !strings.Contains(mine, from) {
				t.Fatalf("there is no %q in\n%s", from, mine)
			}
			mine = strings.Replace(mine, from, to, 1)
		}
		name := filepath.Join(dir, fmt.Sprintf("nats-%d.conf", i))
		if err := os.WriteFile(name, []byte(mine), 0o644); err != nil {
			t.Fatal(err)
		}
		start(t, dir, exec.Command("nats-server", "--config", name), fmt.Sprintf("POD_NAME=nats-%d", i))
	}
	for _, port := range monitor {
		eventually(t, fmt.Sprintf("http://127.0.0.1:%d/healthz?js-enabled-only=true", port), func([]byte) bool { return true })
	}

	objects, stop := placetest.NewObjects()
	defer stop()
	config := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "queue = \"nats://strata:12e5@127.0.0.1:%d\"\n", client[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	metrics := freePorts(t, 1)[0]
	line := strings.Join(args, " ")
	for from, to := range map[string]string{
		"$(POD_NAME)": "worker-1", "--metrics=:9464": fmt.Sprintf("--metrics=127.0.0.1:%d", metrics),
		"region=eu-central-1": "region=eu-central-1,endpoint_url=" + objects.URL + ",use_path_style=true", "bucket=strata-cache": "bucket=cache",
	} {
		line = strings.Replace(line, from, to, 1)
	}
	start(t, dir, exec.Command(strata, strings.Fields(line)...), "STRATA_CONFIG="+config, "STRATA_ROOT="+filepath.Join(dir, "store"),
		"AWS_ACCESS_KEY_ID="+placetest.AccessKey, "AWS_SECRET_ACCESS_KEY="+placetest.SecretKey)
	for path, want := range map[string]string{"/readyz": "ok", "/healthz": "ok", "/metrics": "strata_worker_steps_running 0"} {
		eventually(t, fmt.Sprintf("http://127.0.0.1:%d%s", metrics, path), func(answer []byte) bool { return bytes.Contains(answer, []byte(want)) })
	}
	eventually(t, fmt.Sprintf("http://127.0.0.1:%d/jsz?acc=$G&consumers=true&config=true", monitor[0]), func(answer []byte) bool {
		var jsz struct {
			Accounts []struct {
				Name    string `json:"name"`
				Streams []struct {
					Name   string `json:"name"`
					Config struct {
						Replicas int `json:"num_replicas"`
					} `json:"config"`
					Consumers []struct {
						Name    string `json:"name"`
						Cluster struct {
							Leader string `json:"leader"`
						} `json:"cluster"`
					} `json:"consumer_detail"`
				} `json:"stream_detail"`
			} `json:"account_details"`
		}
		if json.Unmarshal(answer, &jsz) != nil {
			return false
		}
		for _, a := range jsz.Accounts {
			for _, s := range a.Streams {
				for _, c := range s.Consumers {
					// KEDA finds the server that knows the length by the leader's name.
					if a.Name == "$G" && s.Name == "STRATA_STEPS" && c.Name == "steps-linux-amd64" && strings.HasPrefix(c.Cluster.Leader, "nats-") && s.Config.Replicas == 3 {
						return true
					}
				}
			}
		}
		return false
	})
}

// queueConfig is the nats.conf of nats.yaml.
func queueConfig(t *testing.T, dir string) string {
	for _, doc := range documents(t, filepath.Join(dir, "nats.yaml")) {
		if doc["kind"] == "ConfigMap" {
			return doc["data"].(map[string]any)["nats.conf"].(string)
		}
	}
	t.Fatal("there is no ConfigMap")
	return ""
}

// workerArgs are the arguments of the worker of worker-amd64.yaml.
func workerArgs(t *testing.T, dir string) (args []string) {
	for _, doc := range documents(t, filepath.Join(dir, "worker-amd64.yaml")) {
		if doc["kind"] != "Deployment" {
			continue
		}
		for _, a := range at(doc, "spec", "template", "spec", "containers", 0, "args").([]any) {
			args = append(args, a.(string))
		}
	}
	return args
}

// at is what is in a document under names and numbers, nil if nothing.
func at(doc any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := doc.(map[string]any)
			doc = m[p]
		case int:
			list, _ := doc.([]any)
			if p >= len(list) {
				return nil
			}
			doc = list[p]
		}
	}
	return doc
}

// testManifests holds names in deploy/kubernetes to what they name: a server accepts manifests of which one means what
// no other has.
func testManifests(t *testing.T, path, strata string) {
	scalers := map[any]map[string]any{}
	for _, doc := range documents(t, filepath.Join(path, "autoscaling.yaml")) {
		scalers[at(doc, "spec", "scaleTargetRef", "name")] = at(doc, "spec", "triggers", 0, "metadata").(map[string]any)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		docs := documents(t, filepath.Join(path, "worker-"+arch+".yaml"))
		worker, budget := docs[0], docs[1]
		checkPods(t, worker)
		labels := at(worker, "spec", "template", "metadata", "labels").(map[string]any)
		for name, value := range at(budget, "spec", "selector", "matchLabels").(map[string]any) {
			if labels[name] != value {
				t.Errorf("the budget of %s is for pods with %s=%s", arch, name, value)
			}
		}
		var args []string
		for _, a := range at(worker, "spec", "template", "spec", "containers", 0, "args").([]any) {
			args = append(args, a.(string))
		}
		checkOptions(t, strata, args)
		scaler := scalers[at(worker, "metadata", "name")]
		if args[2] != "--platform=linux/"+arch || at(worker, "spec", "template", "spec", "nodeSelector", "kubernetes.io/arch") != arch || scaler["consumer"] != "steps-linux-"+arch {
			t.Errorf("the worker of %s is for another platform: %v, %v", arch, args, scaler)
		}
		// parallel/ replaces the fourth argument
		if args[3] != fmt.Sprint("--slots=", scaler["lagThreshold"]) {
			t.Errorf("the worker of %s has %s, and its autoscaler %v", arch, args[3], scaler["lagThreshold"])
		}
	}
	for _, doc := range documents(t, filepath.Join(path, "nats.yaml")) {
		if doc["kind"] == "StatefulSet" {
			checkPods(t, doc)
		}
	}
	files, err := filepath.Glob(filepath.Join(path, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	listed := fmt.Sprint(at(documents(t, filepath.Join(path, "kustomization.yaml"))[0], "resources"))
	for _, f := range files {
		if name := filepath.Base(f); name != "kustomization.yaml" && !strings.Contains(listed, name) {
			t.Errorf("kustomization.yaml does not list %s", name)
		}
	}
}

// checkPods holds what makes pods to the names in them: of labels, volumes and ports.
func checkPods(t *testing.T, doc map[string]any) {
	t.Helper()
	name := at(doc, "metadata", "name")
	for label, value := range at(doc, "spec", "selector", "matchLabels").(map[string]any) {
		if at(doc, "spec", "template", "metadata", "labels", label) != value {
			t.Errorf("%s does not select its pods by %s", name, label)
		}
	}
	named := func(list any) map[any]bool {
		names := map[any]bool{}
		entries, _ := list.([]any)
		for _, e := range entries {
			names[at(e, "name")] = true
		}
		return names
	}
	volumes := named(at(doc, "spec", "template", "spec", "volumes"))
	if claim := at(doc, "spec", "volumeClaimTemplates", 0, "metadata", "name"); claim != nil {
		volumes[claim] = true
	}
	container := at(doc, "spec", "template", "spec", "containers", 0)
	ports := named(at(container, "ports"))
	for volume := range named(at(container, "volumeMounts")) {
		if !volumes[volume] {
			t.Errorf("%s has no volume %s", name, volume)
		}
	}
	for _, probe := range []string{"livenessProbe", "readinessProbe"} {
		if port := at(container, probe, "httpGet", "port"); !ports[port] {
			t.Errorf("the %s of %s asks the port %v", probe, name, port)
		}
	}
	if at(container, "securityContext", "privileged") == true || at(container, "securityContext", "capabilities", "add") != nil {
		t.Errorf("%s has rights that it does not need", name)
	}
}

func documents(t *testing.T, path string) (all []map[string]any) {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := yaml.NewDecoder(f)
	for {
		var doc map[string]any
		switch err := d.Decode(&doc); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, doc)
	}
}

// start starts a program that ends with the test.
func start(t *testing.T, dir string, cmd *exec.Cmd, environment ...string) {
	var out bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = dir, &out, &out, append(os.Environ(), environment...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		end := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
		cmd.Wait()
		end.Stop()
		if t.Failed() {
			t.Logf("%s:\n%s", cmd, out.String())
		}
	})
}

func freePorts(t *testing.T, n int) (ports []int) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// eventually asks an address until the answer is 200 and right.
func eventually(t *testing.T, url string, right func([]byte) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	var last string
	for ctx.Err() == nil {
		r, _ := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if resp, err := http.DefaultClient.Do(r); err == nil {
			var body bytes.Buffer
			body.ReadFrom(resp.Body)
			resp.Body.Close()
			if last = resp.Status + "\n" + body.String(); resp.StatusCode == 200 && right(body.Bytes()) {
				return
			}
		} else {
			last = err.Error()
		}
		time.Sleep(200 * time.Millisecond)
	}
	t.Fatalf("%s: %s", url, last)
}
