package agent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// User is the owner of the user's process and of its files.
type User struct{ UID, GID int }

// Memory is what the kernel tells of the job's memory. The zero value means that it tells nothing.
type Memory struct {
	LimitBytes int64 // 0 = no limit
	OOMKills   int64 // processes of the job killed because the limit was reached
}

// Config is what Run needs. Link, Blobs, Dir, Root and Token must be set.
type Config struct {
	Link  platform.AgentLink
	Blobs func(endpoint string, s platform.Session, region string) platform.Blobs
	Token string

	Dir     string // the agent's own folder, closed to the user's code; it holds the spool
	Root    string // /opt/ml
	Outside string // Root as the machine names it, for Outcome.Kept; empty: the same
	Shim    string // path of the script-mode program, for {shim} in a runtime's entry
	// ServeProgram is the path of the model server, for {shim} in a runtime's serve entry.
	ServeProgram string

	User   *User         // of the user's process; nil: the agent's own
	Memory func() Memory // nil: nothing is known
	Notes  []string      // what the job's owner should know of this machine, reported as warnings
	// Prepare is called before the user's process is started: it makes the runtime's files visible to it and sees that the
	// process will be bound by its limits. It gives more notes. Nil: nothing is to be done.
	Prepare func(runtimeFiles ...string) (notes []string, err error)

	// Checkpoints makes what keeps the checkpoints of a job that wants it. Nil: such a job fails.
	Checkpoints func(CheckpointFolder) (Checkpoints, error)
	// Front makes what stands before a container of many models. Nil: such an instance fails.
	Front func(ModelSource) (Front, error)
	// Pipeline makes what stands before several containers. Nil: such an instance fails.
	Pipeline func(Pipeline) (Front, error)
	// Part makes a folder that is to be the /opt/ml of one of several containers, which are counted from 1, and gives the path
	// by which it is seen beside that. view makes it /opt/ml, for what the calling thread starts from then on. Nil: such an
	// instance fails.
	Part func(number int) (root string, view func() error, err error)

	// NewSender makes what sends a transform job's data to its container; when ctx ends, so does all that is under way. Nil:
	// such a job fails.
	NewSender func(ctx context.Context, b Batches) Sender

	Previous []Remains // of earlier attempts on this machine, the latest first

	SpoolLimit int64          // bytes of undelivered reports at which the user's output is held back; 0 = 1 GiB
	Patience   time.Duration  // how long an object store that is away is waited for; 0 = 10 minutes
	Clock      platform.Clock // nil: the machine's
	Log        *slog.Logger   // nil: none
}

// agent is one run.
type agent struct {
	Config
	spool  *spool
	post   *post
	orders *orders
	job    platform.Assignment
	spec   sagemaker.CreateTrainingJobRequest
	store  *store
	meta   *metadata // nil: none could be had
	keeper keeper

	model     platform.ModelContainers      // of an endpoint's instance or a transform job
	container sagemaker.ContainerDefinition // the one that this is about: the first, or a part's own
	name      string                        // of it among several; empty: it is the only one
	view      func() error                  // gives the thread that starts its process its view of /opt/ml; nil: it is the agent's
	task      platform.TransformTask        // of a transform job
	// manifestPrefix is what the names of the task's manifest, if it has one, are below.
	manifestPrefix platform.URI
}

// Run does one assignment from beginning to end. The end of ctx is a request to stop in order, as Ack.Stop is. Run returns
// once its outcome has been acknowledged or nobody wants it any more; an error means that it could not even begin.
func Run(ctx context.Context, cfg Config) error {
	a, err := open(cfg)
	if err != nil {
		return err
	}
	defer a.spool.close()
	// life ends when the agent is not wanted any more, the orders' work also when the job is to stop or to make way.
	life, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	a.orders = newOrders(life, a.Clock)
	defer a.orders.breakOff(nil)
	defer context.AfterFunc(ctx, a.orders.stop)()

	// 1. Take the assignment.
	err = a.takeAssignment(a.orders.work)
	if platform.Is(err, platform.Denied) {
		return err
	}
	// From here on everything reported is written down first and delivered in order; answers bring orders.
	a.post = &post{link: a.Link, token: a.Token, spool: a.spool, clock: a.Clock, log: a.Log, heard: a.obey, gone: func() { end(errGone) }}
	posted := make(chan struct{})
	go func() {
		defer close(posted)
		a.post.run(life)
	}()
	for _, note := range a.Notes {
		a.warn(note)
	}
	// 2 to 8. Do it.
	outcome := a.outcomeOf(life, err)
	if err == nil {
		outcome = a.do(a.orders.work, life)
	}
	// 9. Report the outcome, until it is acknowledged. When the capacity goes before that, it is in the spool.
	if life.Err() == nil {
		here, done := a.orders.before(life, (*notice).leaves)
		seq, err := a.spool.append(life, platform.Report{At: a.Clock.Now(), Outcome: &outcome}, durable)
		if err == nil {
			a.spool.waitAcked(here, seq)
		}
		done()
		a.Log.Info("the job has ended", "outcome", outcome.Kind, "reason", outcome.Reason)
	}
	end(nil)
	<-posted
	return nil
}

func open(cfg Config) (*agent, error) {
	if cfg.Clock == nil {
		cfg.Clock = platform.SystemClock{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.SpoolLimit == 0 {
		cfg.SpoolLimit = 1 << 30
	}
	if cfg.Patience == 0 {
		cfg.Patience = 10 * time.Minute
	}
	if cfg.Outside == "" {
		cfg.Outside = cfg.Root
	}
	if cfg.Memory == nil {
		cfg.Memory = func() Memory { return Memory{} }
	}
	s, err := openSpool(filepath.Join(cfg.Dir, spoolFolder), cfg.SpoolLimit)
	if err != nil {
		return nil, err
	}
	return &agent{Config: cfg, spool: s}, nil
}

// takeAssignment asks for the assignment until there is one; only Denied and a request to stop end it.
func (a *agent) takeAssignment(work context.Context) error {
	pause := firstPause
	for {
		job, err := a.Link.Assignment(work, a.Token)
		if err == nil {
			a.job = job
			break
		}
		if platform.Is(err, platform.Denied) {
			return err
		}
		if work.Err() != nil {
			return context.Cause(work)
		}
		a.Log.Warn("no assignment yet", "error", err)
		wait(work, a.Clock, pause)
		pause = min(2*pause, longestPause)
	}
	read := func() error { return decodeSpec(a.job.Spec, &a.spec) }
	switch a.job.Kind {
	case platform.KindEndpoint:
		read = a.readContainers
	case platform.KindTransformJob:
		read = a.readTask
	}
	if err := read(); err != nil {
		return err
	}
	a.store = newStore(a.Config, a.job)
	return nil
}

// do does what the assignment is of.
func (a *agent) do(work, life context.Context) platform.Outcome {
	switch a.job.Kind {
	case platform.KindEndpoint:
		return a.serve(work, life)
	case platform.KindTransformJob:
		return a.transform(work, life)
	}
	return a.perform(work, life)
}

// perform does steps 2 to 8 and tells how it went.
func (a *agent) perform(work, life context.Context) platform.Outcome {
	// 2. Say so, lay out /opt/ml, and have the instance metadata where the user's code will look for it.
	a.enter(platform.PhaseDownloading, "")
	if err := a.layOut(); err != nil {
		return a.outcomeOf(life, err)
	}
	defer a.openMetadata()()
	drop := a.takeBallast()
	defer drop()
	// 3. Fetch the inputs, the source and the last checkpoints.
	if err := a.openCheckpoints(work); err != nil {
		return a.outcomeOf(life, err)
	}
	if err := a.fetch(work); err != nil {
		return a.outcomeOf(life, err)
	}
	if err := a.restore(work); err != nil {
		return a.outcomeOf(life, err)
	}
	// 4. Start the user's command.
	defer a.openWitness()()
	process, err := a.start(work)
	if err != nil {
		return a.outcomeOf(life, err)
	}
	a.enter(platform.PhaseTraining, "")
	// 5 and 6. Ship its log and its checkpoints until it has ended.
	log := a.ship(life, process)
	synced := a.sync(life, process)
	why := a.watch(life, process)
	drop()
	synced.finish(life, process)
	tail := log.wait()
	if errors.Is(why, errInterrupted) {
		_ = synced.wait()
		why = a.orders.why(life) // a stop that came after the notice still is one
	}
	if life.Err() != nil {
		_ = synced.wait()
		return platform.Outcome{}
	}
	// 7. Judge its end.
	outcome := a.judge(process, why, tail)
	if outcome.Kind == platform.Interrupted {
		return outcome // what is on this machine serves the next attempt, if that runs here too
	}
	// 8. Upload what it made, the last checkpoints beside it.
	outcome = a.upload(life, outcome)
	if err := synced.wait(); err != nil && outcome.Kind != platform.Interrupted && outcome.Kept == "" {
		outcome.Kept = a.outside(a.keeper.folder)
	}
	return outcome
}

// enter reports a phase; an empty message leaves the words to the control plane.
func (a *agent) enter(p platform.Phase, message string) {
	a.report(platform.Report{Phase: p, Message: message})
}

// warn reports something that the job's owner should know.
func (a *agent) warn(message string) {
	a.Log.Warn(message)
	a.report(platform.Report{Message: message})
}

// report writes a small report down. It does not wait for room: these reports are few, and losing one means that the disk
// is broken, which the log of the agent tells.
func (a *agent) report(r platform.Report) {
	r.At = a.Clock.Now()
	if _, err := a.spool.append(context.Background(), r, brief); err != nil {
		a.Log.Error("a report could not be written down", "error", err)
	}
}

// outside is a path below Root as the machine names it.
func (a *agent) outside(path string) string {
	return filepath.Join(a.Outside, strings.TrimPrefix(path, a.Root))
}

// wait sleeps for d or until ctx ends.
func wait(ctx context.Context, clock platform.Clock, d time.Duration) {
	fired, stop := clock.After(d)
	defer stop()
	select {
	case <-fired:
	case <-ctx.Done():
	}
}

// owned makes a folder that belongs to the user's process.
func (a *agent) owned(path string) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return diskError(path, err)
	}
	return a.own(path)
}

// own gives a file or folder to the user's process.
func (a *agent) own(path string) error {
	if a.User == nil {
		return nil
	}
	return diskError(path, os.Lchown(path, a.User.UID, a.User.GID))
}
