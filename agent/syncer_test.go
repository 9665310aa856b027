package agent_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/agent/checkpoint"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// syncer joins the agent with what keeps its checkpoints, as the real program does, but looks often.
type syncer struct{ *checkpoint.Syncer }

func keepCheckpoints(f agent.CheckpointFolder) (agent.Checkpoints, error) {
	s, err := checkpoint.New(checkpoint.Config{
		Dir: f.Dir, State: f.State, Prefix: f.Plan.URI, Epoch: f.Plan.Epoch, Host: f.Host, Job: f.Job, Blobs: f.Blobs, Clock: f.Clock, Log: f.Log,
		Own: f.Own, Stalled: f.Stalled, Notes: f.Notes, Committed: func(g checkpoint.Generation) { f.Committed(setOf(g)) },
		OpenForWrite: func() (map[checkpoint.Inode]bool, error) {
			open := map[checkpoint.Inode]bool{}
			return open, f.OpenForWrite(func(dev, ino uint64) { open[checkpoint.Inode{Dev: dev, Ino: ino}] = true })
		},
		Every: 20 * time.Millisecond, Settle: 50 * time.Millisecond, StallAfter: 200 * time.Millisecond,
	})
	return syncer{s}, err
}

func (s syncer) Restore(ctx context.Context) (platform.Checkpoint, error) {
	r, err := s.Syncer.Restore(ctx)
	set := setOf(r.Generation)
	set.Files, set.Bytes = int64(r.Files), r.Bytes
	return set, err
}

func (s syncer) Final(ctx context.Context, killed bool) error {
	_, err := s.Syncer.Final(ctx, killed)
	return err
}

func setOf(g checkpoint.Generation) platform.Checkpoint {
	return platform.Checkpoint{Generation: g.Number, At: g.At, Files: int64(g.Files), Bytes: g.Bytes, Shipped: g.Shipped}
}

// syncing makes the job one whose checkpoints are really kept.
func (b *bench) syncing(epoch int64) {
	b.spec.CheckpointConfig = &sagemaker.CheckpointConfig{S3Uri: new("s3://out/c")}
	b.assignment.Checkpoints = &platform.CheckpointPlan{URI: "s3://out/c", Path: "/opt/ml/checkpoints", Epoch: epoch}
	b.cfg.Checkpoints = keepCheckpoints
}

// steps is a training that counts to a number of steps, keeping each by rename, and says each. Its model is the list of its steps.
func steps(n int, then string) string {
	return fmt.Sprintf(`cd $ROOT/checkpoints; trap 'exit 0' TERM; touch steps; i=$(wc -l < steps)
		while [ $i -lt %d ]; do
			i=$((i+1)); cp steps draft; echo step $i >> draft; sleep 0.01; mv draft steps; echo step $i
		done
		%s
		cp steps $ROOT/model/steps`, n, then)
}

const waits = `while :; do sleep 0.02; done`

func wantSteps(t *testing.T, text string, n int) {
	t.Helper()
	var want strings.Builder
	for i := range n {
		fmt.Fprintf(&want, "step %d\n", i+1)
	}
	if text != want.String() {
		t.Errorf("the steps are %q, want %d", text, n)
	}
}

func TestInterruptedTrainingGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	first := newBench(t, steps(5, waits))
	first.syncing(1)
	first.interruptAt("step 5", time.Minute)
	wantKind(t, first.run(t), platform.Interrupted)
	sets, _, _ := first.toldOfCheckpoints()
	if len(sets) == 0 || sets[len(sets)-1].Files != 1 {
		t.Fatalf("told were %+v", sets)
	}
	wantSteps(t, string(first.get(t, "s3://out/c/steps")), 5)

	second := newBench(t, steps(8, ""))
	second.blobs = first.blobs
	second.syncing(2)
	o := second.run(t)
	wantKind(t, o, platform.Succeeded)
	wantSteps(t, untar(t, second.get(t, o.Model))["steps"], 8)
	if got := second.log(); got[0] != "step 6" {
		t.Errorf("it went on with %q", got[0])
	}
	wantSteps(t, string(second.get(t, "s3://out/c/steps")), 8) // also what was made last is in the store
	_, metrics, messages := second.toldOfCheckpoints()
	if said := strings.Join(messages, "\n"); !strings.Contains(said, "Restored checkpoint generation") || !strings.Contains(said, ": 1 file,") {
		t.Errorf("messages are %q", said)
	}
	if metrics["stint:CheckpointBytes"] != float64(len("step 1\n")*8) {
		t.Errorf("metrics are %v", metrics)
	}
}

func TestCheckpointPrefixThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ uri, says string }{
		"no bucket": {"s3://nowhere/c", "nowhere"},
		"denied":    {"s3://out/closed/c", "s3://out/closed/c"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "echo ran")
			b.blobs.Fault = func(method string, u platform.URI) error {
				if strings.HasPrefix(string(u), "s3://out/closed") && method != "List" && method != "Stat" && method != "Open" {
					return platform.Errorf(platform.Denied, string(u), "AccessDenied: %s is not allowed to s3:PutObject", u)
				}
				return nil
			}
			b.syncing(1)
			b.assignment.Checkpoints.URI = platform.URI(c.uri)
			wantKind(t, b.run(t), platform.ClientError, "ClientError: ", c.says)
			if len(b.log()) > 0 {
				t.Error("the program ran")
			}
		})
	}
}

func TestStoreThatIsAwayDuringTrainingIsToldAndNothingIsLost(t *testing.T) {
	t.Parallel()
	var away atomic.Bool
	// What is done before the store goes away may have reached it, however quickly one is told of it; what is done after has not.
	b := newBench(t, steps(3, `while [ ! -e $ROOT/away ]; do sleep 0.02; done; echo step 4 >> steps
		while [ ! -e $ROOT/go ]; do sleep 0.02; done; echo step 5 >> steps`))
	b.blobs.Fault = func(_ string, u platform.URI) error {
		if away.Load() {
			return platform.Errorf(platform.Unavailable, string(u), "connection refused")
		}
		return nil
	}
	b.syncing(1)
	b.start(t)
	b.until(t, "the steps to be done", said("step 3"))
	away.Store(true)
	if err := os.WriteFile(filepath.Join(b.cfg.Root, "away"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	b.until(t, "the stall to be told", func(c *control) bool { return c.toldWarning("no checkpoint has reached s3://out/c") })
	away.Store(false)
	b.until(t, "its end to be told", func(c *control) bool { return c.toldWarning("again after") })
	if err := os.WriteFile(filepath.Join(b.cfg.Root, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	wantKind(t, b.wait(t), platform.Succeeded)
	wantSteps(t, string(b.get(t, "s3://out/c/steps")), 5)
}

// toldWarning reports whether a warning with a text was told; the lock is held.
func (c *control) toldWarning(text string) bool {
	for _, r := range c.reports {
		if r.Phase == "" && strings.Contains(r.Message, text) {
			return true
		}
	}
	return false
}

// At random moments of a training its attempts are interrupted; each goes on where the one before was.
func TestTrainingInterruptedAtManyMoments(t *testing.T) {
	t.Parallel()
	const all = 12
	store := newBench(t, "").blobs
	done := 0
	for attempt := 1; ; attempt++ {
		b := newBench(t, steps(all, ""))
		b.blobs = store
		b.syncing(int64(attempt))
		b.interruptAt("step "+strconv.Itoa(attempt*3), time.Minute)
		o := b.run(t)
		for _, line := range b.log() {
			step, err := strconv.Atoi(strings.TrimPrefix(line, "step "))
			if err != nil || step <= done || step > done+2 { // the end may come between doing a step and saying so
				t.Errorf("attempt %d said %q after step %d", attempt, line, done)
			}
			done = step
		}
		if o.Kind == platform.Succeeded {
			wantSteps(t, untar(t, b.get(t, o.Model))["steps"], all)
			return
		}
		wantKind(t, o, platform.Interrupted)
	}
}
