package agent_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stint-ml/stint/agent/pipeline"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// severalOf are containers of the bench: the first is called first, the second second. Each has a model that says its name.
func severalOf(t *testing.T, b *bench, first, second map[string]string) platform.ModelContainers {
	t.Helper()
	of := func(name string, environment map[string]string) sagemaker.ContainerDefinition {
		uri := "s3://data/" + name + ".tar.gz"
		b.put(t, platform.URI(uri), string(tarball(t, member{name: "name", content: name})))
		all := map[string]string{containerMode: "1", "TELLS_NUMBER": "1"}
		for k, v := range environment {
			all[k] = v
		}
		return sagemaker.ContainerDefinition{Image: new("test"), ContainerHostname: &name, ModelDataUrl: &uri, Environment: all}
	}
	runtime := platform.Runtime{Name: "test", Serve: []string{os.Args[0]}}
	b.assignment.Runtime, b.assignment.Further = runtime, []platform.Runtime{runtime}
	b.cfg.Pipeline = pipeline.New
	b.cfg.Part = func(number int) (string, func() error, error) {
		root := fmt.Sprintf("%s-%d", b.cfg.Root, number)
		return root, nil, os.MkdirAll(root, 0o755)
	}
	return platform.ModelContainers{Container: of("first", first), Further: []sagemaker.ContainerDefinition{of("second", second)}}
}

// servingBench is an endpoint's instance of two containers.
func servingBench(t *testing.T, first, second map[string]string) *bench {
	t.Helper()
	b := newBench(t, "")
	spec, err := json.Marshal(severalOf(t, b, first, second))
	if err != nil {
		t.Fatal(err)
	}
	b.assignment.Kind, b.specDoc = platform.KindEndpoint, spec
	return b
}

// inService waits until the instance serves, and says where.
func (b *bench) inService(t *testing.T) (address string) {
	t.Helper()
	b.until(t, "the instance in service", func(c *control) bool {
		for _, r := range c.reports {
			if r.Phase == platform.PhaseInService {
				address = r.Address
			}
		}
		return address != ""
	})
	return address
}

// streams are the lines of the log by what is appended to its name.
func (b *bench) streams() map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	lines := map[string]string{}
	for _, r := range b.reports {
		for _, e := range r.Logs {
			lines[r.Stream] += e.Message + "\n"
		}
	}
	return lines
}

func invoke(t *testing.T, address, body string) (status int, text string, header http.Header) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/invocations", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(said), response.Header
}

func TestSeveralContainersServeTogether(t *testing.T) {
	t.Parallel()
	b := servingBench(t, nil, nil)
	b.start(t)
	address := b.inService(t)
	if status, text, _ := invoke(t, address, "x"); status != 200 || text != "X" {
		t.Errorf("%d %q", status, text)
	}
	for number, name := range map[int]string{1: "first", 2: "second"} {
		if model, err := os.ReadFile(filepath.Join(fmt.Sprintf("%s-%d", b.cfg.Root, number), "model", "name")); string(model) != name || err != nil {
			t.Errorf("container %d has the model %q: %v", number, model, err)
		}
	}
	b.control.set(func(c *control) { c.stop = true })
	wantKind(t, b.wait(t), platform.StopObeyed)
	if logs := b.streams(); !strings.Contains(logs["first"], "asked x as") || !strings.Contains(logs["second"], "asked X as") || len(logs) != 2 {
		t.Errorf("logs %q", logs)
	}
	if phases := b.phases(); len(phases) != 2 {
		t.Errorf("phases %v", phases)
	}
}

func TestOneOfSeveralContainersThatDiesEndsAll(t *testing.T) {
	t.Parallel()
	b := servingBench(t, nil, map[string]string{"DIES_OF": "POISON"})
	b.start(t)
	status, text, header := invoke(t, b.inService(t), "poison")
	if status != http.StatusBadGateway || header.Get(platform.ContainerHeader) != "second" || header.Get(platform.RefusedHeader) != platform.RefusedBroken {
		t.Errorf("%d %q %v", status, text, header)
	}
	wantKind(t, b.wait(t), platform.AlgorithmError, "exit code: 3", "(container second)")
	for name, log := range b.streams() {
		_, rest, _ := strings.Cut(log, "number ")
		number, err := strconv.Atoi(strings.SplitN(rest, "\n", 2)[0])
		if err != nil {
			t.Fatalf("%s: %v of %q", name, err, log)
		}
		if err := syscall.Kill(number, 0); err == nil {
			t.Errorf("the container %s still runs", name)
		}
	}
}

func TestOneOfSeveralContainersThatIsNeverHealthyIsNamed(t *testing.T) {
	t.Parallel()
	b := servingBench(t, nil, map[string]string{"SICK": "1"})
	b.assignment.Health = 1
	wantKind(t, b.run(t), platform.AlgorithmError, "The second did not pass the ping health check")
	for _, r := range b.reports {
		if r.Phase == platform.PhaseInService {
			t.Error("it was in service")
		}
	}
}

func TestOneOfSeveralContainersThatCannotStartEndsAll(t *testing.T) {
	t.Parallel()
	b := servingBench(t, nil, nil)
	b.assignment.Further[0].Serve = []string{"/no/such/program"}
	began := time.Now()
	wantKind(t, b.run(t), platform.ClientError, "/no/such/program")
	if took := time.Since(began); took > 50*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestATransformGoesThroughSeveralContainers(t *testing.T) {
	t.Parallel()
	var task *platform.TransformTask
	b := transformBench(t, func(to *platform.TransformTask) { task = to }, map[string]string{"in/a": "x\ny\n", "in/b": "refuse\n"})
	task.ModelContainers = severalOf(t, b, nil, map[string]string{"PARAMETERS": "{}"})
	spec, err := json.Marshal(task)
	if err != nil {
		t.Fatal(err)
	}
	b.specDoc = spec
	wantKind(t, b.run(t), platform.ClientError, "the container first answered 422")
	b.wantMade(t, "s3://out/", map[string]string{"t/a.out": "X\nY\n"})
	if logs := b.streams(); !strings.Contains(logs["first"], "asked x") || !strings.Contains(logs["second"], "asked X") || logs["data-log"] == "" {
		t.Errorf("logs %q", logs)
	}
}
