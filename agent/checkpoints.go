package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/stint-ml/stint/platform"
)

// Checkpoints keeps the folder of a job's checkpoints and its place in the object store the same; agent/checkpoint does it.
// Probe and Restore come before the user's process, Run is beside it, Final after it, when Run has returned.
type Checkpoints interface {
	// Probe finds out whether the place can be used, and says in words for the job's owner why not.
	Probe(ctx context.Context) error
	// Restore brings the last complete set into the folder, and tells which; zero when there was none. Conflict: a later attempt
	// has taken over.
	Restore(ctx context.Context) (platform.Checkpoint, error)
	// Run syncs until ctx ends.
	Run(ctx context.Context)
	// Freeze is called just before processes of the job are killed: what they have open for writing now is torn.
	Freeze()
	// Final ships what is left, until ctx ends. killed says that processes were killed and may have left torn files. It may be
	// called again after an error.
	Final(ctx context.Context, killed bool) error
}

// CheckpointFolder is what a keeper of checkpoints gets to know. All of it is set.
type CheckpointFolder struct {
	Dir, State string // the folder, and one of the keeper's own that the user's code cannot reach
	Plan       platform.CheckpointPlan
	Host       string
	Job        platform.ARN
	Blobs      func() platform.Blobs // asked for each request: the store may move
	Clock      platform.Clock
	Log        *slog.Logger

	Own func(path string) error // gives a restored file to the user
	// OpenForWrite gives each file of the folder's file system that the job has open for writing; an error: not known.
	OpenForWrite func(each func(dev, ino uint64)) error
	Committed    func(platform.Checkpoint)              // a set is whole in the store
	Stalled      func(since time.Duration, cause error) // nothing gets through for so long; a nil cause: it does again
	Notes        func(string)                           // for the job's owner
}

// Metrics of the checkpoints. No metric of the user's may have the prefix.
const (
	ownMetrics      = "stint:"
	metricLag       = ownMetrics + "CheckpointLagSeconds" // from a set's moment until it was whole in the store; while nothing gets through, for how long
	metricSetBytes  = ownMetrics + "CheckpointBytes"      // of the set
	metricSentBytes = ownMetrics + "CheckpointShippedBytes"
)

const (
	leastReserve = 3 * time.Second // of a notice for the last checkpoints, however quick they were so far
	paceMemory   = 5               // syncs from which is learned how long the last one may take
)

// keeper is the sync of this job's checkpoints; its zero value is that of a job without.
type keeper struct {
	Checkpoints
	folder   string       // as the user's code sees it
	restored atomic.Int64 // bytes
	process  atomic.Pointer[process]

	mu      sync.Mutex
	took    []time.Duration // the last syncs
	writing []uint64        // the files that were open for writing when that was looked at last
}

// checkpointFolder is where the job's checkpoints lie: below Root whatever it is called, as the plan names it below /opt/ml.
func (a *agent) checkpointFolder() (string, error) {
	named := a.job.Checkpoints.Path
	if named == "" {
		return filepath.Join(a.Root, checkpointFolder), nil
	}
	below, ok := strings.CutPrefix(path.Clean(named), contractRoot+"/")
	first, _, _ := strings.Cut(below, "/")
	switch {
	case !ok:
		return "", clientError(named, "the checkpoint path %s is not below %s; leave CheckpointConfig.LocalPath out for %s/%s", named, contractRoot, contractRoot, checkpointFolder)
	case first == "input" || first == homeFolder:
		return "", clientError(named, "the checkpoint path %s lies in a folder that is not the job's own to write; leave CheckpointConfig.LocalPath out for %s/%s", named, contractRoot, checkpointFolder)
	}
	return filepath.Join(a.Root, below), nil
}

// openCheckpoints makes the folder and sees that its place in the store can be written: a job learns of that at its start, not
// at its first checkpoint.
func (a *agent) openCheckpoints(work context.Context) error {
	plan := a.job.Checkpoints
	if plan == nil {
		return nil
	}
	if a.Checkpoints == nil {
		return platform.Errorf(platform.Internal, string(plan.URI), "this agent cannot keep checkpoints")
	}
	folder, err := a.checkpointFolder()
	if err != nil {
		return err
	}
	for _, dir := range upTo(a.Root, folder) {
		if err := a.owned(dir); err != nil {
			return err
		}
	}
	k := &a.keeper
	k.folder = folder
	var info syscall.Stat_t
	if err := syscall.Stat(folder, &info); err != nil {
		return diskError(folder, err)
	}
	k.Checkpoints, err = a.Checkpoints(CheckpointFolder{
		Dir: folder, State: filepath.Join(a.Dir, "checkpoints"), Plan: *plan, Host: a.job.Host, Job: a.job.ARN,
		Blobs: func() platform.Blobs { return countingBlobs{a.store.current(), &k.restored} }, Clock: a.Clock, Log: a.Log,
		Own: a.own, OpenForWrite: func(each func(dev, ino uint64)) error { return k.openForWrite(info.Dev, each) },
		Committed: a.committed, Stalled: a.stalled, Notes: a.warn,
	})
	if err != nil {
		return err
	}
	err = a.store.try(work, func(platform.Blobs) error { return k.Probe(work) })
	if platform.Is(err, platform.NotFound) || platform.Is(err, platform.Denied) {
		return clientError(string(plan.URI), "the job cannot keep its checkpoints in %s, its CheckpointConfig.S3Uri: %w", plan.URI, err)
	}
	return err
}

// openForWrite asks the job's processes, once there are any. What one that crashed had open cannot be asked; it may be whatever was
// written shortly before.
func (k *keeper) openForWrite(device uint64, each func(dev, ino uint64)) error {
	p := k.process.Load()
	if p == nil {
		return nil
	}
	var found []uint64
	note := func(dev, ino uint64) {
		found = append(found, ino)
		each(dev, ino)
	}
	if crashed := p.crash.Load(); crashed != 0 {
		if err := touchedSince(k.folder, time.Unix(0, crashed).Add(-salvageSettle), note); err != nil {
			return err
		}
	}
	err := openForWrite(p, device, note)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.writing = found
	return err
}

// open gives the files that were being written when that was looked at last.
func (k *keeper) open() []uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.writing
}

// restore brings the last checkpoints back.
func (a *agent) restore(work context.Context) error {
	k := &a.keeper
	if k.Checkpoints == nil {
		return nil
	}
	end := a.progress(platform.PhaseDownloading, "Restoring checkpoints", &k.restored, 0)
	var set platform.Checkpoint
	err := a.store.try(work, func(platform.Blobs) (err error) {
		set, err = k.Restore(work)
		return err
	})
	end()
	switch {
	case platform.Is(err, platform.Conflict):
		// Not the job's fault: this attempt was given up, and what it would do is being done.
		return platform.Errorf(platform.Internal, string(a.job.Checkpoints.URI), "a later attempt of the job has taken over its checkpoints: %w", err)
	case err != nil:
		return err
	case set.Files > 0:
		a.enter(platform.PhaseDownloading, fmt.Sprintf("Restored checkpoint generation %d: %s, %s", set.Generation, filesText(set.Files), bytesText(set.Bytes)))
	}
	a.noteRun()
	a.salvage(work, set)
	return nil
}

// sync syncs the checkpoints beside the user's process.
func (a *agent) sync(life context.Context, p *process) *syncing {
	ctx, end := context.WithCancel(life)
	s := &syncing{agent: a, end: end, ended: make(chan struct{})}
	if a.keeper.Checkpoints == nil {
		close(s.ended)
		return s
	}
	a.keeper.process.Store(p)
	go func() {
		defer close(s.ended)
		a.keeper.Run(ctx)
	}()
	return s
}

// syncing is the sync beside the user's process, and what follows its end.
type syncing struct {
	agent *agent
	end   context.CancelFunc
	ended chan struct{} // closed when nothing is synced any more
	err   error         // says that something was not
}

// finish begins to ship what is left, once the user's process has ended.
func (s *syncing) finish(life context.Context, p *process) {
	s.end()
	<-s.ended
	s.agent.keeper.process.Store(nil)
	if s.agent.keeper.Checkpoints == nil {
		return
	}
	s.agent.noteEnd(p)
	if life.Err() != nil {
		return
	}
	s.ended = make(chan struct{})
	go func() {
		defer close(s.ended)
		if s.err = s.agent.lastSync(life, p.cutOff.Load() > 0); s.err == nil && life.Err() == nil {
			s.agent.forgetRun()
		}
	}()
}

// wait gives what could not be shipped as an error, when all has been tried.
func (s *syncing) wait() error {
	<-s.ended
	return s.err
}

// lastSync ships what is left of the checkpoints, also when the job was done: as on AWS, all of them are in the store then.
func (a *agent) lastSync(life context.Context, torn bool) error {
	inTime, done := a.orders.before(life, (*notice).syncEnds)
	defer done()
	err := a.store.try(inTime, func(platform.Blobs) error { return a.keeper.Final(inTime, torn) })
	if err == nil || life.Err() != nil {
		return nil
	}
	why := err // what the store says when time is up tells less than that it was
	if inTime.Err() != nil {
		why = context.Cause(inTime)
		err = errors.Join(why, err)
	}
	a.warn(fmt.Sprintf("the last checkpoints could not be brought to %s in time: %v", a.job.Checkpoints.URI, why))
	return err
}

// committed reports a set that is whole in the store.
func (a *agent) committed(c platform.Checkpoint) {
	k := &a.keeper
	now := a.Clock.Now()
	lag := now.Sub(c.At)
	k.mu.Lock()
	if k.took = append(k.took, lag); len(k.took) > paceMemory {
		k.took = k.took[1:]
	}
	k.mu.Unlock()
	a.report(platform.Report{Checkpoint: &c})
	a.report(platform.Report{Metrics: []platform.MetricValue{
		{Name: metricLag, Value: lag.Seconds(), At: now}, {Name: metricSetBytes, Value: float64(c.Bytes), At: now},
		{Name: metricSentBytes, Value: float64(c.Shipped), At: now},
	}})
}

// stalled tells that checkpoints do not get through, or do again.
func (a *agent) stalled(since time.Duration, cause error) {
	uri := a.job.Checkpoints.URI
	a.report(platform.Report{Metrics: []platform.MetricValue{{Name: metricLag, Value: since.Seconds(), At: a.Clock.Now()}}})
	if cause == nil {
		a.warn(fmt.Sprintf("checkpoints reach %s again after %s", uri, since.Round(time.Second)))
		return
	}
	a.warn(fmt.Sprintf("no checkpoint has reached %s for %s; what the job has done since would have to be done again if it were interrupted now: %v",
		uri, since.Round(time.Second), cause))
	a.store.refresh(a.orders.work) // it may have moved
}

// reserve is how much of a notice is kept for the last checkpoints: twice as long as the slowest of the last syncs took.
func (a *agent) reserve(n *notice) time.Duration {
	k := &a.keeper
	if k.Checkpoints == nil {
		return 2 * n.spare()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.took) == 0 {
		return max(leastReserve, n.whole()/4)
	}
	slowest := time.Duration(0)
	for _, d := range k.took {
		slowest = max(slowest, d)
	}
	return max(leastReserve, 2*slowest+n.spare())
}
