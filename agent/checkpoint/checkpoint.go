package checkpoint

import (
	"cmp"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stint-ml/stint/platform"
)

// Config is what a Syncer needs. Dir, Prefix, Host, Blobs and State must be set.
type Config struct {
	Dir    string       // the folder: /opt/ml/checkpoints. Made when missing
	Prefix platform.URI // CheckpointConfig.S3Uri
	Host   string       // algo-1
	Job    platform.ARN
	Epoch  int64 // orders the attempts of a job: a later attempt has a higher one, and wins

	Blobs func() platform.Blobs // asked before each request: the store may move
	Clock platform.Clock        // nil: the machine's
	State string                // a folder of the syncer's own, closed to the user's code. Made when missing

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
	Notes     func(string)                           // what the job's owner should know; said once each. From any goroutine
}

// Inode names a file on this machine, whatever its path.
type Inode struct{ Dev, Ino uint64 }

// Generation is a complete set of files as it was at one moment.
type Generation struct {
	Number  int64 // counts up over all attempts and jobs that wrote below the prefix, with gaps
	Epoch   int64
	Host    string
	At      time.Time // the moment
	Files   int
	Bytes   int64    // of all files
	Shipped int64    // bytes that were sent to the store since the generation before
	Behind  []string // files that never came to rest: the generation holds their last whole version, or what was whole of them
}

// Restored says what Restore brought back. The zero value means that there was nothing.
type Restored struct {
	Generation Generation // of this host; zero when there was none, and files came from elsewhere or were put there by hand
	Files      int
	Bytes      int64
	Passed     int // generations, of any host, that were passed over because they were not whole; Notes told why
}

// Syncer syncs one folder with one prefix. Call Probe and Restore before the user's process starts, Run while it runs, Final
// when it has ended and Run has returned; none of them while another is under way.
//
// It holds at most about 100 MiB of file content in memory, and some 400 bytes for each file of the folder.
type Syncer struct {
	Config
	dir   string // Dir without links
	chunk int64

	term      int64 // of our claim
	number    int64 // of the newest manifest, whole or not
	serial    int64 // of the objects and intents of this term
	last      *manifest
	newest    Generation
	kept      []keptGeneration    // the last of them is last
	prior     map[string]entry    // the files of last by path
	files     map[string]*tracked // the folder as it was seen last
	grown     map[string]growth
	strays    map[string]string // files that nobody wrote, by path: the ETags of their flat objects
	audited   time.Time
	lookTook  time.Duration
	lastLook  time.Time
	ending    *ending
	frozen    *ending
	intents   []intent
	stale     []stamp // manifests that the next tidying removes, as the following
	oldClaims []stamp

	hurry   atomic.Bool // the user's processes have ended
	shipped atomic.Int64
	memory  *memory
	limit   limiter
	journal journal

	mu        sync.Mutex // for what follows, and for the maps that workers write
	flats     map[string]flatState
	made      map[string]bool // objects of this host, which go when nothing needs them any more
	intended  map[string]bool // paths that an intent names
	halfway   map[string]halfway
	published map[string]time.Time
	pool      map[int64][]*content // shipped and not committed by a syncer before, by size
	said      map[string]bool

	watch watch
}

// New checks the configuration. It does no I/O.
func New(cfg Config) (*Syncer, error) {
	switch {
	case cfg.Dir == "" || cfg.State == "" || cfg.Blobs == nil:
		return nil, errors.New("checkpoint: Dir, State and Blobs must be set")
	case cfg.Host == "" || strings.ContainsAny(cfg.Host, "/ ") || cfg.Host == "." || cfg.Host == "..":
		return nil, platform.Errorf(platform.Invalid, cfg.Host, "%q cannot be the name of a host that writes checkpoints", cfg.Host)
	}
	if _, _, err := cfg.Prefix.Split(); err != nil {
		return nil, err
	}
	if cfg.Clock == nil {
		cfg.Clock = platform.SystemClock{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Every = cmp.Or(cfg.Every, 10*time.Second)
	cfg.Settle = cmp.Or(cfg.Settle, time.Second)
	cfg.Patience = cmp.Or(cfg.Patience, time.Minute)
	cfg.StallAfter = cmp.Or(cfg.StallAfter, 2*time.Minute)
	s := &Syncer{
		Config: cfg, chunk: chunkBytes, grown: map[string]growth{}, intended: map[string]bool{}, halfway: map[string]halfway{},
		published: map[string]time.Time{}, said: map[string]bool{}, journal: journal{path: filepath.Join(cfg.State, journalFile)},
	}
	s.limit.syncer = s
	s.memory = newMemory(memoryBudget, int(pieceChunks*s.chunk))
	return s, nil
}

// ready makes the folders, and finds out where the synced one really is before the user's code could replace a part of the way.
func (s *Syncer) ready() error {
	if s.dir != "" {
		return nil
	}
	made := false
	if _, err := os.Lstat(s.Dir); os.IsNotExist(err) {
		made = true
	}
	for _, dir := range []string{s.Dir, s.State} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return platform.Errorf(platform.Invalid, dir, "the folder %s cannot be made: %w", dir, err)
		}
	}
	if made && s.Own != nil {
		if err := s.Own(s.Dir); err != nil {
			return err
		}
	}
	dir, err := filepath.Abs(s.Dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return platform.Errorf(platform.Invalid, s.Dir, "the checkpoint folder %s cannot be opened: %w", s.Dir, err)
	}
	s.dir = dir
	return nil
}
