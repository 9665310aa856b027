package agent_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/drivers/blobs/memory"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// control is a control plane that keeps what it is told.
type control struct {
	mu         sync.Mutex
	assignment platform.Assignment
	away       bool
	denied     bool
	stop, gone bool
	notice     *platform.Interruption
	onLine     func(line string) // called with every line of the log and every phase, locked
	reports    []platform.Report
	asked      int
	delivered  int
	changed    chan struct{}
}

func newControl() *control {
	return &control{changed: make(chan struct{}), onLine: func(string) {}}
}

func (c *control) Assignment(_ context.Context, token string) (platform.Assignment, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	c.signal()
	if c.denied || token != "secret" {
		return platform.Assignment{}, platform.Errorf(platform.Denied, "", "no")
	}
	if c.away {
		return platform.Assignment{}, platform.Errorf(platform.Unavailable, "", "away")
	}
	return c.assignment, nil
}

func (c *control) Deliver(_ context.Context, _ string, reports []platform.Report) (platform.Ack, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away {
		c.signal()
		return platform.Ack{}, platform.Errorf(platform.Unavailable, "", "away")
	}
	seq := int64(len(c.reports))
	for _, r := range reports {
		if r.Seq <= seq {
			continue
		}
		if r.Seq != seq+1 {
			return platform.Ack{}, platform.Errorf(platform.Invalid, "", "gap before %d", r.Seq)
		}
		c.reports, seq = append(c.reports, r), seq+1
		c.onLine(string(r.Phase))
		for _, e := range r.Logs {
			c.onLine(e.Message)
		}
	}
	c.delivered++
	c.signal()
	return platform.Ack{Seq: seq, Stop: c.stop, Gone: c.gone, Interrupt: c.notice}, nil
}

// interrupt gives notice.
func (c *control) interrupt(left time.Duration) {
	c.set(func(c *control) { c.notice = noticeOf(left) })
}

// at does something when the log has a line, or when a phase is told, in the same answer.
func (c *control) at(line string, do func()) {
	c.onLine = func(l string) {
		if l == line {
			do()
		}
	}
}

// interruptAt gives notice then.
func (c *control) interruptAt(line string, left time.Duration) {
	c.at(line, func() { c.notice = noticeOf(left) })
}

func noticeOf(left time.Duration) *platform.Interruption {
	now := time.Now().UTC()
	return &platform.Interruption{At: now, Until: now.Add(left), Reason: "the room is needed"}
}

func (c *control) signal() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// set changes something about the control plane.
func (c *control) set(change func(*control)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c)
}

// until waits for a condition on the control plane.
func (c *control) until(t *testing.T, what string, condition func(*control) bool) {
	t.Helper()
	deadline := time.After(60 * time.Second)
	for {
		c.mu.Lock()
		ok, changed := condition(c), c.changed
		c.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func (c *control) log() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var lines []string
	for _, r := range c.reports {
		for _, e := range r.Logs {
			lines = append(lines, e.Message)
		}
	}
	return lines
}

// said reports whether a line is in the log.
func said(line string) func(*control) bool {
	return func(c *control) bool {
		for _, r := range c.reports {
			for _, e := range r.Logs {
				if e.Message == line {
					return true
				}
			}
		}
		return false
	}
}

func (c *control) metrics() []float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	var values []float64
	for _, r := range c.reports {
		for _, m := range r.Metrics {
			values = append(values, m.Value)
		}
	}
	return values
}

func (c *control) phases() []platform.Phase {
	c.mu.Lock()
	defer c.mu.Unlock()
	var phases []platform.Phase
	for _, r := range c.reports {
		if r.Phase != "" && (len(phases) == 0 || phases[len(phases)-1] != r.Phase) {
			phases = append(phases, r.Phase)
		}
	}
	return phases
}

func (c *control) warnings() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var said []string
	for _, r := range c.reports {
		if r.Phase == "" && r.Message != "" {
			said = append(said, r.Message)
		}
	}
	return strings.Join(said, "\n")
}

func (c *control) outcome() *platform.Outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.reports {
		if r.Outcome != nil {
			return r.Outcome
		}
	}
	return nil
}

// bench is a job on a bench: a control plane, a store and an agent's configuration.
type bench struct {
	*control
	blobs *memory.Blobs
	cfg   agent.Config
	spec  sagemaker.CreateTrainingJobRequest
	// specDoc is the assignment's Spec, if it is not spec.
	specDoc json.RawMessage
	done    chan error
}

// newBench makes a job that runs a shell script with $ROOT as its /opt/ml.
func newBench(t *testing.T, script string) *bench {
	t.Helper()
	dir := t.TempDir()
	root := filepath.Join(dir, "opt", "ml")
	if err := os.MkdirAll(filepath.Join(dir, "agent"), 0o700); err != nil {
		t.Fatal(err)
	}
	b := &bench{control: newControl(), blobs: memory.New("data", "out")}
	b.spec = sagemaker.CreateTrainingJobRequest{
		TrainingJobName: new("digits"), RoleArn: new("arn:aws:iam::123456789012:role/R"),
		AlgorithmSpecification: &sagemaker.AlgorithmSpecification{ContainerEntrypoint: []string{"sh", "-c", script}},
		ResourceConfig:         &sagemaker.ResourceConfig{InstanceType: new(sagemaker.TrainingInstanceType("ml.m5.large")), InstanceCount: new(int32(1))},
		OutputDataConfig:       &sagemaker.OutputDataConfig{S3OutputPath: new("s3://out/models")},
		Environment:            map[string]string{"ROOT": root},
	}
	b.assignment = platform.Assignment{
		Agent: "digits-1", Kind: platform.KindTrainingJob, Name: "digits", ARN: "arn:aws:sagemaker:us-east-1:123456789012:training-job/digits",
		Site: platform.Site{Partition: "aws", Region: "us-east-1", Account: "123456789012"},
		Host: "algo-1", Hosts: []string{"algo-1"}, CPUs: 2, Endpoint: "http://127.0.0.1:9400", S3: "http://127.0.0.1:9401",
		Session: platform.Session{ID: "ASIATEST", Secret: "s3cret", Token: "t0ken"},
		Output:  "s3://out/models/digits/output", StopGrace: 5,
	}
	b.cfg = agent.Config{
		Link: b.control, Token: "secret", Dir: filepath.Join(dir, "agent"), Root: root,
		Blobs: func(string, platform.Session, string) platform.Blobs { return b.blobs },
		Log:   slog.New(slog.DiscardHandler),
	}
	return b
}

// start runs the agent; the returned function cancels its context.
func (b *bench) start(t *testing.T) context.CancelFunc {
	t.Helper()
	spec, err := json.Marshal(b.spec)
	if err != nil {
		t.Fatal(err)
	}
	if b.specDoc != nil {
		spec = b.specDoc
	}
	b.control.set(func(c *control) { c.assignment.Spec = spec })
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	b.done = make(chan error, 1)
	go func() { b.done <- agent.Run(ctx, b.cfg) }()
	return cancel
}

// run runs the agent to its end and gives the outcome.
func (b *bench) run(t *testing.T) platform.Outcome {
	t.Helper()
	b.start(t)
	return b.wait(t)
}

// leave waits for the agent to end.
func (b *bench) leave(t *testing.T) {
	t.Helper()
	select {
	case err := <-b.done:
		if err != nil {
			t.Fatalf("Run: %v", err)
		}
	case <-time.After(60 * time.Second):
		t.Fatal("the agent does not end")
	}
}

func (b *bench) wait(t *testing.T) platform.Outcome {
	t.Helper()
	b.leave(t)
	o := b.outcome()
	if o == nil {
		t.Fatal("no outcome was reported")
	}
	return *o
}

func (b *bench) put(t testing.TB, uri platform.URI, content string) {
	t.Helper()
	if err := b.blobs.Upload(context.Background(), uri, strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) get(t *testing.T, uri platform.URI) []byte {
	t.Helper()
	in, err := b.blobs.Open(context.Background(), uri, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	data, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// input adds a channel.
func (b *bench) input(name, uri string, change ...func(*sagemaker.Channel)) {
	ch := sagemaker.Channel{ChannelName: &name, DataSource: &sagemaker.DataSource{S3DataSource: &sagemaker.S3DataSource{
		S3DataType: new(sagemaker.S3DataTypeS3Prefix), S3Uri: &uri,
	}}}
	for _, c := range change {
		c(&ch)
	}
	b.spec.InputDataConfig = append(b.spec.InputDataConfig, ch)
}

func wantKind(t *testing.T, o platform.Outcome, kind platform.OutcomeKind, reason ...string) {
	t.Helper()
	if o.Kind != kind {
		t.Fatalf("outcome is %s (%s), want %s", o.Kind, o.Reason, kind)
	}
	for _, r := range reason {
		if !strings.Contains(o.Reason, r) {
			t.Errorf("reason %q does not say %q", o.Reason, r)
		}
	}
}

func sorted(s []string) []string { slices.Sort(s); return s }

// inode is a file's number, 0 when there is none.
func inode(path string) uint64 {
	var info syscall.Stat_t
	if syscall.Stat(path, &info) != nil {
		return 0
	}
	return info.Ino
}
