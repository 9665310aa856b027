package checkpoint

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/stint-ml/stint/platform"
)

// Config is what a Syncer needs. Dir, Prefix, Host, Blobs and State must be set.
type Config struct {
	Dir    string       // the folder: /opt/ml/checkpoints
	Prefix platform.URI // CheckpointConfig.S3Uri
	Host   string       // algo-1
	Job    platform.ARN
	Epoch  int64 // orders the attempts of a job: a later attempt has a higher one, and wins

	Blobs func() platform.Blobs // asked before each request: the store may move
	Clock platform.Clock        // nil: the machine's
	State string                // a folder of the syncer's own, closed to the user's code, made when missing

	Every      time.Duration // between looks at the folder; 0 = 10 s
	Settle     time.Duration // for how long a file that was written must be quiet to count as whole; 0 = 1 s
	Patience   time.Duration // for how long a generation waits for files that go on changing; 0 = 1 minute
	StallAfter time.Duration // without progress, while there is something to ship, until Stalled is called; 0 = 2 minutes
	Bandwidth  int64         // bytes a second that Run ships at most; 0 = unbounded. Restore and Final are not held back

	Own func(path string) error // gives a restored file, folder or link to the user; nil: nothing to be done
	// OpenForWrite tells which files some process of the job has open for writing. Nil, or an error: not known; then only
	// quietness tells that a file is whole.
	OpenForWrite func() (map[Inode]bool, error)

	Log       *slog.Logger                           // nil: none
	Committed func(Generation)                       // a generation is whole and durable
	Stalled   func(since time.Duration, cause error) // nothing was shipped for that long; a nil cause: it goes on again
	Notes     func(string)                           // what the job's owner should know; said once each
}

// Inode names a file on this machine, whatever its path.
type Inode struct{ Dev, Ino uint64 }

// Generation is a complete set of files as it was at one moment.
type Generation struct {
	Number  int64 // counts up over all attempts and jobs that wrote below the prefix
	Epoch   int64
	Host    string
	At      time.Time // the moment
	Files   int
	Bytes   int64    // of all files
	Shipped int64    // bytes that were sent to the store for it
	Behind  []string // files that never came to rest: the generation holds their last whole version, or what was whole of them
}

// Restored says what Restore brought back. The zero value means that there was nothing.
type Restored struct {
	Generation Generation // of this host; zero when there was none, and files came from elsewhere or were put there by hand
	Files      int
	Bytes      int64
	Passed     int // newer generations, of any host, that were passed over because they were not whole; Notes told why
}

// Syncer syncs one folder with one prefix. Call Probe and Restore before the user's process starts, Run while it runs, Final
// when it has ended and Run has returned.
type Syncer struct {
	Config
}

// New checks the configuration. It does no I/O.
func New(cfg Config) (*Syncer, error) { return &Syncer{Config: cfg}, nil }

var errSkeleton = errors.New("checkpoint: not built yet")

// Probe finds out whether the prefix can be listed, written and read. It leaves nothing behind. Denied and NotFound say what is
// wrong with the location in words for the job's owner.
func (s *Syncer) Probe(ctx context.Context) error { return errSkeleton }

// Restore claims the prefix for this attempt and brings the last complete set of every host into the folder, verified.
// Conflict means that a later attempt of the job has claimed the prefix already.
func (s *Syncer) Restore(ctx context.Context) (Restored, error) { return Restored{}, errSkeleton }

// Run syncs until ctx ends, or until a later attempt has claimed the prefix.
func (s *Syncer) Run(ctx context.Context) { <-ctx.Done() }

// Freeze notes which files are open for writing. The agent calls it just before it kills the user's processes: what is open
// then is torn, and Final does not ship it.
func (s *Syncer) Freeze() {}

// Final ships what is left after the user's processes have ended, until ctx ends, and gives the last whole generation. killed
// says that they were killed, and may have left torn files. When time allows, it also brings the flat objects up to date.
func (s *Syncer) Final(ctx context.Context, killed bool) (Generation, error) {
	return Generation{}, errSkeleton
}
