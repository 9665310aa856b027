package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/agent/link"
	"github.com/stint-ml/stint/api/agents"
	"github.com/stint-ml/stint/drivers/blobs/memory"
	"github.com/stint-ml/stint/drivers/runner/local"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// TestMain makes the test binary serve as the agents' program and as a model's container too.
func TestMain(m *testing.M) {
	if os.Getenv(containerMode) != "" {
		beContainer()
	}
	if len(os.Args) > 2 && os.Args[1] == "agent" {
		os.Exit(agentMain(os.Args[2]))
	}
	os.Exit(m.Run())
}

// agentMain is an agent as the real program wires it, but for the object store.
func agentMain(dir string) int {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	b, err := local.Enter(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if b.StopAsked {
		cancel()
	}
	data := filepath.Dir(filepath.Dir(dir))
	cfg := agent.Config{
		Link: link.Dial(b.Path(filepath.Join(data, "server.json"))), Token: b.Token, Dir: b.Dir, Root: b.Root, Outside: b.Outside,
		Blobs: func(string, platform.Session, string) platform.Blobs {
			return folder{memory.New("out"), b.Path(filepath.Join(data, "uploads"))}
		},
		Checkpoints: keepCheckpoints, Memory: func() agent.Memory { return agent.Memory(b.Memory()) }, Prepare: b.Prepare, Notes: b.Notes,
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	for _, r := range b.Previous {
		cfg.Previous = append(cfg.Previous, agent.Remains(r))
	}
	if b.UID >= 0 {
		cfg.User = &agent.User{UID: b.UID, GID: b.GID}
	}
	if err := agent.Run(ctx, cfg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// folder is a store in which what a job made becomes files.
type folder struct {
	*memory.Blobs
	dir string
}

func (f folder) Upload(ctx context.Context, u platform.URI, r io.Reader) error {
	if !strings.HasPrefix(string(u), "s3://out/o/") {
		return f.Blobs.Upload(ctx, u, r)
	}
	out, err := os.Create(filepath.Join(f.dir, filepath.Base(string(u))))
	if err != nil {
		return err
	}
	defer out.Close()
	_, err = io.Copy(out, r)
	return err
}

// plant is a machine with a control plane on it.
type plant struct {
	*control
	data   string
	runner *local.Runner
	server *httptest.Server
}

func newPlant(t testing.TB) *plant {
	t.Helper()
	p := &plant{control: newControl(), data: t.TempDir()}
	p.assignment = platform.Assignment{Name: "digits", Host: "algo-1", Hosts: []string{"algo-1"}, CPUs: 1, StopGrace: 5, Output: "s3://out/o"}
	p.serve(t)
	if err := os.Mkdir(filepath.Join(p.data, "uploads"), 0o755); err != nil {
		t.Fatal(err)
	}
	r, err := local.New(local.Config{
		Dir: filepath.Join(p.data, "agents"), Command: []string{"/proc/self/exe", "agent", "{dir}"}, Hide: []string{p.data}, ReadSpool: agent.ReadSpool,
	})
	if err != nil {
		t.Fatal(err)
	}
	p.runner = r
	t.Cleanup(func() {
		for _, id := range []platform.AgentID{"a", "b"} {
			_ = r.Kill(context.Background(), id)
			for deadline := time.Now().Add(60 * time.Second); r.Remove(context.Background(), id) != nil && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond)
			}
		}
		_ = r.Close()
	})
	return p
}

// serve opens the control plane's door, on a new port each time.
func (p *plant) serve(t testing.TB) {
	p.server = httptest.NewServer(agents.Handler(p, slog.New(slog.DiscardHandler)))
	t.Cleanup(p.server.Close)
	doc := fmt.Sprintf(`{"endpoint": %q}`, p.server.URL)
	draft := filepath.Join(p.data, ".server.json")
	if err := os.WriteFile(draft, []byte(doc), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(draft, filepath.Join(p.data, "server.json")); err != nil {
		t.Fatal(err)
	}
}

// start starts an agent whose command is a shell script.
func (p *plant) start(t testing.TB, script string) {
	t.Helper()
	p.startAfter(t, "a", "", script)
}

// startAfter starts one that comes after another.
func (p *plant) startAfter(t testing.TB, id, previous platform.AgentID, script string) {
	t.Helper()
	spec, err := json.Marshal(sagemaker.CreateTrainingJobRequest{AlgorithmSpecification: &sagemaker.AlgorithmSpecification{ContainerEntrypoint: []string{"sh", "-c", script}}})
	if err != nil {
		t.Fatal(err)
	}
	p.set(func(c *control) { c.assignment.Spec = spec })
	err = p.runner.Start(context.Background(), platform.AgentSpec{ID: id, Previous: previous, Token: "secret", Host: "algo-1", Capacity: platform.Capacity{MilliCPU: 2000, MemoryBytes: 512 << 20}})
	if err != nil {
		t.Fatal(err)
	}
}

func (p *plant) ended(t *testing.T) platform.Outcome {
	t.Helper()
	return p.endedAs(t, "a")
}

func (p *plant) endedAs(t *testing.T, id string) platform.Outcome {
	t.Helper()
	select {
	case <-p.runner.Ended():
	case <-time.After(60 * time.Second):
		t.Fatal("the agent does not end")
	}
	o := p.outcome()
	if o == nil {
		log, _ := os.ReadFile(filepath.Join(p.data, "agents", id, "agent.log"))
		t.Fatalf("no outcome; the agent said: %s", log)
	}
	return *o
}

func TestAgentProcess(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	p.start(t, `
		echo "parent $PPID $(id -un) $(hostname)"
		(setsid sh -c 'echo $$ > /tmp/orphan; sleep 0.1' &) # an orphan, for the agent to reap
		while [ ! -s /tmp/orphan ] || [ -e /proc/$(cat /tmp/orphan) ]; do sleep 0.02; done
		ls /proc > /tmp/list; grep -c '^[0-9]*$' /tmp/list
		grep NoNewPrivs /proc/self/status
		cat /proc/self/oom_score_adj
		echo w > /opt/ml/model/w; pwd`)
	o := p.ended(t)
	wantKind(t, o, platform.Succeeded)
	// The agent, the shell and ls: no zombie.
	want := []string{"parent 1 stint algo-1", "3", "NoNewPrivs:\t1", "500", "/"}
	if got := p.log(); !slices.Equal(got, want) {
		t.Errorf("log is %q, want %q", got, want)
	}
	zipped, err := os.ReadFile(filepath.Join(p.data, "uploads/model.tar.gz"))
	if err != nil || untar(t, zipped)["w"] != "w\n" {
		t.Errorf("the model: %v", err)
	}
}

// The server is killed during the job and comes back on another port.
func TestAgentProcessOutlivesTheServer(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	p.start(t, `echo one; while [ ! -e /opt/ml/go ]; do sleep 0.02; done; echo two; echo w > /opt/ml/model/w`)
	p.until(t, "the script to begin", said("one"))
	p.server.CloseClientConnections()
	p.server.Close()
	if err := os.WriteFile(filepath.Join(p.data, "agents/a/ml/go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(60 * time.Second)
	for { // it finishes without the server
		reports, err := p.runner.Reports(context.Background(), "a", 0)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(reports); n > 0 && reports[n-1].Outcome != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the agent does not finish without the server")
		}
		time.Sleep(5 * time.Millisecond)
	}
	p.serve(t)
	wantKind(t, p.ended(t), platform.Succeeded)
	if got := p.log(); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("log is %q", got)
	}
}

// An agent that is killed leaves what it wrote down.
func TestAgentProcessKilled(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	p.start(t, `echo one; while [ ! -e /opt/ml/go ]; do sleep 0.02; done; echo two; sleep 600`)
	p.until(t, "the script to begin", said("one"))
	p.set(func(c *control) { c.away = true })
	acked := int64(len(p.reports))
	if err := os.WriteFile(filepath.Join(p.data, "agents/a/ml/go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	var left []platform.Report
	for deadline := time.Now().Add(60 * time.Second); len(left) == 0 && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		var err error
		if left, err = p.runner.Reports(context.Background(), "a", acked); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.runner.Kill(context.Background(), "a"); err != nil {
		t.Fatal(err)
	}
	<-p.runner.Ended()
	left, err := p.runner.Reports(context.Background(), "a", acked)
	if err != nil || len(left) != 1 || len(left[0].Logs) != 1 || left[0].Logs[0].Message != "two" || left[0].Seq != acked+1 {
		t.Errorf("undelivered is %+v, %v", left, err)
	}
}

func TestAgentProcessStopped(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	p.start(t, `trap 'echo w > /opt/ml/model/w; exit 0' TERM; echo one; while :; do sleep 0.02; done`)
	p.until(t, "the script to begin", said("one"))
	if err := p.runner.Stop(context.Background(), "a"); err != nil {
		t.Fatal(err)
	}
	o := p.ended(t)
	wantKind(t, o, platform.StopObeyed)
	if o.Model == "" {
		t.Error("the model was not uploaded")
	}
}

func TestAgentProcessOutOfMemory(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	p.start(t, `head -c 900m /dev/zero | tail > /dev/null`)
	wantKind(t, p.ended(t), platform.AlgorithmError, "out of memory", "512 MiB")
}

// BenchmarkStart: from Start to the first line of the user's process at the control plane, and its parts. The budget is
// 10 ms for Start and, beyond the start of a Go program, 40 ms for the agent.
func BenchmarkStart(b *testing.B) {
	var starts, begins []float64
	for b.Loop() {
		p := newPlant(b)
		begin := time.Now()
		p.start(b, `date +%s%N`)
		starts = append(starts, float64(time.Since(begin).Microseconds())/1000)
		<-p.runner.Ended()
		var nanos int64
		for _, line := range p.log() {
			_, _ = fmt.Sscan(line, &nanos)
		}
		begins = append(begins, float64(time.Unix(0, nanos).Sub(begin).Microseconds())/1000)
		if err := p.runner.Remove(context.Background(), "a"); err != nil {
			b.Fatal(err)
		}
		p.server.Close()
	}
	slices.Sort(starts)
	slices.Sort(begins)
	b.ReportMetric(starts[len(starts)/2], "ms/Start(p50)")
	b.ReportMetric(begins[len(begins)/2], "ms/user-process(p50)")
	b.ReportMetric(begins[len(begins)*99/100], "ms/user-process(p99)")
}

// An agent killed in the middle leaves checkpoints that never came home; the next one on the machine has them.
func TestAgentProcessKilledBeforeItsCheckpointsWereShipped(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	p.assignment.Checkpoints = &platform.CheckpointPlan{URI: "s3://out/c", Path: "/opt/ml/checkpoints", Epoch: 1}
	p.start(t, `cd /opt/ml/checkpoints; echo state > draft; mv draft whole; exec 3> torn; echo hal >&3; echo written > here; echo one; exec sleep 600`)
	p.until(t, "the script to begin", said("one"))
	if err := p.runner.Kill(context.Background(), "a"); err != nil {
		t.Fatal(err)
	}
	<-p.runner.Ended()
	p.set(func(c *control) { c.reports = nil })
	p.assignment.Checkpoints = &platform.CheckpointPlan{URI: "s3://out/c", Path: "/opt/ml/checkpoints", Epoch: 2}
	p.startAfter(t, "b", "a", `id -u > /opt/ml/model/w; cd /opt/ml/checkpoints; ls; cat whole here; echo more >> whole && echo mine`)
	wantKind(t, p.endedAs(t, "b"), platform.Succeeded)
	if got, want := p.log(), []string{"here", "whole", "state", "written", "mine"}; !slices.Equal(got, want) {
		t.Errorf("log is %q, want %q", got, want)
	}
}

// However fast a program writes, and whenever its agent is killed: what it had put into its place is there, and nothing torn.
func TestAgentProcessKilledWhileItsCheckpointsAreWritten(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script string
		check  func(lines []string, told int) bool
	}{
		"by renaming": {`while :; do i=$((i+1)); echo $i > draft; mv draft state; echo $i; done`, func(lines []string, told int) bool {
			n := 0
			_, err := fmt.Sscan(lines[0], &n)
			return err == nil && len(lines) == 1 && n >= told
		}},
		"in their place": {`while :; do i=$((i+1)); { echo begin; sleep 0.003; echo end; } > state; echo $i; done`, func(lines []string, _ int) bool {
			return slices.Equal(lines, []string{"none"}) || slices.Equal(lines, []string{"begin", "end"})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for round := range 3 {
				p := newPlant(t)
				p.assignment.Checkpoints = &platform.CheckpointPlan{URI: "s3://out/c", Path: "/opt/ml/checkpoints", Epoch: 1}
				p.start(t, `cd /opt/ml/checkpoints; i=0; `+c.script)
				p.until(t, "some steps", said(fmt.Sprint(20+7*round)))
				if err := p.runner.Kill(context.Background(), "a"); err != nil {
					t.Fatal(err)
				}
				<-p.runner.Ended()
				told := 0
				for _, line := range p.log() {
					_, _ = fmt.Sscan(line, &told)
				}
				p.set(func(c *control) { c.reports = nil })
				p.startAfter(t, "b", "a", `cat /opt/ml/checkpoints/state 2>/dev/null || echo none`)
				wantKind(t, p.endedAs(t, "b"), platform.Succeeded)
				if got := p.log(); !c.check(got, told) {
					t.Errorf("after step %d there is %q", told, got)
				}
			}
		})
	}
}
