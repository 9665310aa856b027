package agent_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// ledger is a keeper of checkpoints that writes down what it is asked.
type ledger struct {
	folder agent.CheckpointFolder
	probe  func(ctx context.Context) error
	final  func(ctx context.Context, killed bool) error
	set    platform.Checkpoint // that Restore gives
	files  map[string]string   // that Restore brings

	mu    sync.Mutex
	calls []string
	open  []string // files open for writing at the last Freeze, without their folder
}

func (l *ledger) note(call string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, call)
}

func (l *ledger) Probe(ctx context.Context) error {
	l.note("probe")
	if l.probe != nil {
		return l.probe(ctx)
	}
	return nil
}

func (l *ledger) Restore(context.Context) (platform.Checkpoint, error) {
	l.note("restore")
	old := time.Now().Add(-time.Hour)
	for name, content := range l.files {
		path := filepath.Join(l.folder.Dir, name)
		if err := errors.Join(os.WriteFile(path, []byte(content), 0o600), os.Chtimes(path, old, old), l.folder.Own(path)); err != nil {
			return l.set, err
		}
	}
	return l.set, nil
}

func (l *ledger) Run(ctx context.Context) {
	<-ctx.Done()
	l.note("ran")
}

// Freeze finds the open files by their numbers.
func (l *ledger) Freeze() {
	names := map[uint64]string{}
	entries, _ := os.ReadDir(l.folder.Dir)
	for _, e := range entries {
		names[inode(filepath.Join(l.folder.Dir, e.Name()))] = e.Name()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = nil
	if err := l.folder.OpenForWrite(func(_, ino uint64) { l.open = append(l.open, names[ino]) }); err != nil {
		l.open = []string{err.Error()}
	}
	l.calls = append(l.calls, "freeze")
}

func (l *ledger) Final(ctx context.Context, killed bool) error {
	call := "final"
	if killed {
		call = "final, killed"
	}
	l.note(call)
	if l.final != nil {
		return l.final(ctx, killed)
	}
	return nil
}

// keeping makes the job one with checkpoints.
func (b *bench) keeping(l *ledger) {
	b.spec.CheckpointConfig = &sagemaker.CheckpointConfig{S3Uri: new("s3://out/c")}
	b.assignment.Checkpoints = &platform.CheckpointPlan{URI: "s3://out/c", Path: "/opt/ml/checkpoints", Epoch: 3, Every: 42}
	b.cfg.Checkpoints = func(f agent.CheckpointFolder) (agent.Checkpoints, error) {
		l.folder = f
		return l, nil
	}
}

func TestCheckpointsAroundTheProgram(t *testing.T) {
	t.Parallel()
	const calm = "probe restore ran final"
	for name, c := range map[string]struct {
		script string
		change func(*bench)
		kind   platform.OutcomeKind
		calls  string
	}{
		"success":             {"echo ready", nil, platform.Succeeded, calm},
		"failure":             {"exit 3", nil, platform.AlgorithmError, calm},
		"crash":               {"kill -SEGV $$", nil, platform.AlgorithmError, "probe restore ran final, killed"},
		"leftovers":           {"(trap '' TERM HUP; while :; do sleep 0.02; done) & exit 0", nil, platform.Succeeded, "probe restore freeze ran final, killed"},
		"stop":                {savesAndGoes, func(b *bench) { b.at("ready", func() { b.stop = true }) }, platform.StopObeyed, "probe restore freeze ran final"},
		"stop without grace":  {goesOn, func(b *bench) { b.at("ready", func() { b.stop = true }); b.assignment.StopGrace = 0 }, platform.StopObeyed, "probe restore freeze freeze ran final, killed"},
		"longest run time":    {savesAndGoes, func(b *bench) { b.assignment.MaxRun = 1 }, platform.MaxRuntimeExceeded, "probe restore freeze ran final"},
		"interruption":        {savesAndGoes, func(b *bench) { b.interruptAt("ready", time.Minute) }, platform.Interrupted, "probe restore freeze ran final"},
		"ended by SIGTERM":    {"echo ready; exec sleep 600", func(b *bench) { b.interruptAt("ready", time.Minute) }, platform.Interrupted, "probe restore freeze ran final, killed"},
		"deaf interruption":   {goesOn, func(b *bench) { b.interruptAt("ready", 3*time.Second) }, platform.Interrupted, "probe restore freeze freeze ran final, killed"},
		"job that checks out": {`[ "$(cat $STINT_CHECKPOINT_DIR/restored)" = "step 7" ] && [ $STINT_CHECKPOINT_SECONDS = 42 ]`, nil, platform.Succeeded, calm},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, l := newBench(t, c.script), &ledger{files: map[string]string{"restored": "step 7\n"}}
			b.keeping(l)
			if c.change != nil {
				c.change(b)
			}
			o := b.run(t)
			wantKind(t, o, c.kind)
			if got := strings.Join(l.calls, " "); got != c.calls {
				t.Errorf("it was asked %q, want %q", got, c.calls)
			}
			if o.Kept != "" {
				t.Errorf("something is kept: %q", o.Kept)
			}
		})
	}
}

func TestCheckpointPlaceThatCannotBeUsedEndsTheJobAtItsStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		kind platform.OutcomeKind
		says string
	}{
		"denied":  {platform.Errorf(platform.Denied, "s3://out/c", "AccessDenied on PutObject"), platform.ClientError, "cannot keep its checkpoints in s3://out/c"},
		"missing": {platform.Errorf(platform.NotFound, "out", "no bucket out"), platform.ClientError, "no bucket out"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, l := newBench(t, "echo ran"), &ledger{probe: func(context.Context) error { return c.err }}
			b.put(t, "s3://data/d/a", "1")
			b.input("train", "s3://data/d/")
			b.keeping(l)
			wantKind(t, b.run(t), c.kind, c.says)
			if _, err := os.Stat(filepath.Join(b.cfg.Root, "input/data/train")); err == nil || len(b.log()) > 0 {
				t.Error("inputs were fetched or the program ran before")
			}
		})
	}
}

func TestCheckpointStoreThatIsAwayIsWaitedFor(t *testing.T) {
	t.Parallel()
	tries := 0
	b, l := newBench(t, "echo ran"), &ledger{probe: func(context.Context) error {
		if tries++; tries < 3 {
			return platform.Errorf(platform.Unavailable, "", "away")
		}
		return nil
	}}
	b.keeping(l)
	wantKind(t, b.run(t), platform.Succeeded)
}

func TestCheckpointPath(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"": "checkpoints", "/opt/ml/checkpoints/": "checkpoints", "/opt/ml/output/ckpt/a": "output/ckpt/a",
		"/tmp/ckpt": "", "/opt/ml": "", "/opt/ml/../x": "", "/opt/ml/input/c": "", "/opt/ml/home": "",
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			b, l := newBench(t, `echo $STINT_CHECKPOINT_DIR; cat $STINT_CHECKPOINT_DIR/restored`), &ledger{files: map[string]string{"restored": "step 7\n"}}
			b.keeping(l)
			b.assignment.Checkpoints.Path = path
			o := b.run(t)
			if want == "" {
				wantKind(t, o, platform.ClientError, path, "CheckpointConfig.LocalPath")
				return
			}
			wantKind(t, o, platform.Succeeded)
			if got := b.log(); !slices.Equal(got, []string{filepath.Join(b.cfg.Root, want), "step 7"}) {
				t.Errorf("log is %q", got)
			}
		})
	}
}

func (c *control) toldOfCheckpoints() (sets []platform.Checkpoint, metrics map[string]float64, messages []string) {
	metrics = map[string]float64{}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.reports {
		if r.Checkpoint != nil {
			sets = append(sets, *r.Checkpoint)
		}
		for _, m := range r.Metrics {
			metrics[m.Name] = m.Value
		}
		if r.Phase == platform.PhaseDownloading {
			messages = append(messages, r.Message)
		}
	}
	return sets, metrics, messages
}

func TestCheckpointsAreReported(t *testing.T) {
	t.Parallel()
	b, l := newBench(t, `echo ready; while [ ! -e $ROOT/go ]; do sleep 0.02; done`), &ledger{}
	l.set = platform.Checkpoint{Generation: 7, Files: 3, Bytes: 3 << 19}
	b.keeping(l)
	b.start(t)
	b.until(t, "the script to begin", said("ready"))
	made := platform.Checkpoint{Generation: 8, At: time.Now().Add(-2 * time.Second).UTC(), Files: 2, Bytes: 20, Shipped: 10}
	l.folder.Committed(made)
	l.folder.Stalled(3*time.Minute, errors.New("no answer"))
	l.folder.Stalled(4*time.Minute, nil)
	l.folder.Notes("generation 9 is damaged")
	if err := os.WriteFile(filepath.Join(b.cfg.Root, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	wantKind(t, b.wait(t), platform.Succeeded)
	told, metrics, messages := b.toldOfCheckpoints()
	if len(told) != 1 || told[0] != made {
		t.Errorf("told were %+v", told)
	}
	if metrics["stint:CheckpointBytes"] != 20 || metrics["stint:CheckpointShippedBytes"] != 10 || metrics["stint:CheckpointLagSeconds"] < 100 {
		t.Errorf("metrics are %v", metrics)
	}
	if want := "Restored checkpoint generation 7: 3 files, 1.5 MiB"; !slices.Contains(messages, want) {
		t.Errorf("messages are %q, want %q", messages, want)
	}
	for _, want := range []string{"no checkpoint has reached s3://out/c for 3m0s", "no answer", "again after 4m0s", "generation 9 is damaged"} {
		if !strings.Contains(b.warnings(), want) {
			t.Errorf("warnings are %q, want %q", b.warnings(), want)
		}
	}
}

func TestLastCheckpointsThatCannotBeShipped(t *testing.T) {
	t.Parallel()
	refuse := func(context.Context, bool) error { return platform.Errorf(platform.Denied, "", "no more") }
	never := func(ctx context.Context, _ bool) error { <-ctx.Done(); return ctx.Err() }
	for name, c := range map[string]struct {
		script string
		final  func(context.Context, bool) error
		notice string // when this is told
		kind   platform.OutcomeKind
		kept   bool
	}{
		"of a success are kept":                {"echo w > $ROOT/model/w", refuse, "", platform.Succeeded, true},
		"of a failure are kept":                {"exit 3", refuse, "", platform.AlgorithmError, true},
		"of an interruption are given up":      {savesAndGoes, never, "ready", platform.Interrupted, false},
		"do not keep a success from finishing": {"echo w > $ROOT/model/w", never, string(platform.PhaseUploading), platform.Succeeded, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, l := newBench(t, c.script), &ledger{final: c.final}
			b.keeping(l)
			b.interruptAt(c.notice, 3*time.Second)
			given := time.Now()
			b.start(t)
			o := b.wait(t)
			wantKind(t, o, c.kind)
			if want := filepath.Join(b.cfg.Root, "checkpoints"); c.kept != (o.Kept == want) {
				t.Errorf("kept is %q", o.Kept)
			}
			if c.kept && o.Kind == platform.Succeeded && o.Model == "" {
				t.Error("the model was not uploaded")
			}
			if time.Since(given) > 3*time.Second+2*busy {
				t.Errorf("it took %v", time.Since(given))
			}
			if !strings.Contains(b.warnings(), "s3://out/c") {
				t.Errorf("warnings are %q", b.warnings())
			}
		})
	}
}

// What a killed program was writing is known to whoever ships its files.
func TestFilesOpenForWritingAreKnown(t *testing.T) {
	t.Parallel()
	b, l := newBench(t, `cd $ROOT/checkpoints; trap '' TERM; echo whole > whole; exec 3> torn 4< whole; (exec 5>> appended; echo ready; while :; do sleep 0.02; done)`), &ledger{}
	b.keeping(l)
	b.interruptAt("ready", 3*time.Second)
	wantKind(t, b.run(t), platform.Interrupted)
	slices.Sort(l.open)
	if got := fmt.Sprint(slices.Compact(l.open)); got != "[appended torn]" {
		t.Errorf("open are %s", got)
	}
}

func TestGoneLeavesTheCheckpointsAlone(t *testing.T) {
	t.Parallel()
	b, l := newBench(t, goesOn), &ledger{}
	b.keeping(l)
	b.at("ready", func() { b.gone = true })
	b.start(t)
	b.leave(t)
	if got := strings.Join(sorted(l.calls), " "); got != "freeze probe ran restore" {
		t.Errorf("it was asked %q", got)
	}
}
