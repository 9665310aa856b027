package drivers

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"modernc.org/sqlite"

	"github.com/stint-ml/stint/platform"
)

// Schema is how a database came to look as it does. Steps are only ever appended: a database at version n has had the
// first n of them.
type Schema struct {
	Name    string // of the whole database, so that one is not opened as another
	Steps   []string
	Shrinks bool // PRAGMA incremental_vacuum can give the room of deleted rows back to the disk; only heeded on creation
}

// Database is one SQLite file that this process alone has open: many readers, and one writer that puts concurrent
// changes into one transaction and one fsync (see Write). What Write acknowledged survives a crash of the machine.
//
// While it is open a lock on path+".lock" keeps other processes out; the system releases it however this one ends.
type Database struct {
	path    string
	lock    *os.File
	writer  *sql.DB // one connection, used by the writing goroutine only
	reader  *sql.DB
	queries statements // on reader

	mu      sync.RWMutex // held for reading while a change is put into the queue
	closed  atomic.Bool  // set while mu is held for writing
	queue   chan *change
	written chan struct{} // closed when the writing goroutine has ended
}

// readers bounds the connections for reading; each costs a page cache of 2 MB at most.
const readers = 4

// Pages of 8 KiB hold two usual documents; measured 10 % faster than 4 KiB, both for writing and reading.
// The log is folded back into the file each 16 MB, and what a burst left of it is cut down to 64 MB.
const writerPragmas = "_pragma=busy_timeout(10000)&_pragma=page_size(8192)&_pragma=journal_mode(WAL)" +
	"&_pragma=synchronous(FULL)&_pragma=foreign_keys(ON)&_pragma=temp_store(MEMORY)&_pragma=wal_autocheckpoint(2000)&_pragma=journal_size_limit(67108864)"

const readerPragmas = "mode=ro&_pragma=busy_timeout(10000)&_pragma=query_only(ON)&_pragma=temp_store(MEMORY)"

// OpenDatabase opens the file, or creates it with mode 0600, and takes the schema's steps that it has not had.
// InUse names the process that has it open; a damaged file, another kind of database or a newer schema is Internal.
func OpenDatabase(ctx context.Context, path string, schema Schema) (*Database, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, platform.Errorf(platform.Invalid, path, "database path %q: %w", path, err)
	}
	d := &Database{path: path, queue: make(chan *change, maxBatch), written: make(chan struct{})}
	if d.lock, err = lockFile(path); err != nil {
		return nil, err
	}
	if err := d.open(ctx, schema); err != nil {
		_ = d.release() // what opening says matters more
		return nil, err
	}
	return d, nil
}

func (d *Database) open(ctx context.Context, schema Schema) error {
	f, err := os.OpenFile(d.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = errors.Join(f.Chmod(0o600), f.Close())
	}
	if err != nil {
		return platform.Errorf(platform.Unavailable, d.path, "cannot open the database %s: %w", d.path, err)
	}
	name := (&url.URL{Scheme: "file", Path: d.path}).String()
	vacuum := "?_pragma=auto_vacuum(NONE)&" // must come before the first write
	if schema.Shrinks {
		vacuum = "?_pragma=auto_vacuum(INCREMENTAL)&"
	}
	if d.writer, err = sql.Open("sqlite", name+vacuum+writerPragmas); err != nil {
		return d.Fault(err)
	}
	d.writer.SetMaxOpenConns(1)
	if err := d.migrate(ctx, schema); err != nil {
		return err
	}
	if d.reader, err = sql.Open("sqlite", name+"?"+readerPragmas); err != nil {
		return d.Fault(err)
	}
	d.reader.SetMaxOpenConns(readers)
	d.reader.SetMaxIdleConns(readers)
	d.queries.db = d.reader
	conn, err := d.writer.Conn(ctx)
	if err != nil {
		return d.Fault(err)
	}
	go d.write(conn)
	return nil
}

// migrate runs each missing step with its new version number in one transaction.
func (d *Database) migrate(ctx context.Context, schema Schema) error {
	if _, err := d.writer.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS schema_version(name TEXT NOT NULL, version INTEGER NOT NULL)"); err != nil {
		return d.Fault(err)
	}
	var name string
	var version int
	err := d.writer.QueryRowContext(ctx, "SELECT name, version FROM schema_version").Scan(&name, &version)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		if _, err := d.writer.ExecContext(ctx, "INSERT INTO schema_version VALUES(?, 0)", schema.Name); err != nil {
			return d.Fault(err)
		}
	case err != nil:
		return d.Fault(err)
	case name != schema.Name:
		return platform.Errorf(platform.Internal, d.path, "%s is a %s database, not a %s database", d.path, name, schema.Name)
	case version > len(schema.Steps):
		return platform.Errorf(platform.Internal, d.path, "%s was written by a newer version of this program (schema %d, known up to %d); use that version", d.path, version, len(schema.Steps))
	}
	for ; version < len(schema.Steps); version++ {
		if err := d.step(ctx, schema.Steps[version], version+1); err != nil {
			return err
		}
	}
	return nil
}

func (d *Database) step(ctx context.Context, statements string, version int) error {
	tx, err := d.writer.BeginTx(ctx, nil)
	if err != nil {
		return d.Fault(err)
	}
	_, err = tx.ExecContext(ctx, statements)
	if err == nil {
		_, err = tx.ExecContext(ctx, "UPDATE schema_version SET version=?", version)
	}
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		_ = tx.Rollback()
		return d.Fault(err)
	}
	return nil
}

// Close lets the changes in flight finish, folds the log into the file and lets other processes in.
// A second Close does nothing.
func (d *Database) Close() error {
	d.mu.Lock()
	if d.closed.Swap(true) {
		d.mu.Unlock()
		return nil
	}
	close(d.queue)
	d.mu.Unlock()
	<-d.written
	return d.release()
}

func (d *Database) release() error {
	var errs []error
	if d.reader != nil {
		d.queries.close()
		errs = append(errs, d.reader.Close()) // before the writer: the last connection to close checkpoints
	}
	if d.writer != nil {
		errs = append(errs, d.writer.Close())
	}
	// Closing alone would leave the lock to a child that is just being started, until that has let go of it.
	errs = append(errs, syscall.Flock(int(d.lock.Fd()), syscall.LOCK_UN), d.lock.Close())
	if err := errors.Join(errs...); err != nil {
		return d.Fault(err)
	}
	return nil
}

// Usable is nil, or the Unavailable error of a database that is closed or a caller that has given up.
func (d *Database) Usable(ctx context.Context) error {
	if d.closed.Load() {
		return platform.Errorf(platform.Unavailable, d.path, "the database %s is closed", d.path)
	}
	return d.Fault(ctx.Err())
}

// QueryRow reads one row as of now; found is false when there is none. It does not watch ctx while it runs: for lookups.
func (d *Database) QueryRow(query string, args []any, dest ...any) (found bool, err error) {
	s, err := d.queries.get(query)
	if err != nil {
		return false, d.Fault(err)
	}
	return d.scanRow(s.QueryRow(args...), dest)
}

func (d *Database) scanRow(row *sql.Row, dest []any) (found bool, err error) {
	switch err := row.Scan(dest...); {
	case errors.Is(err, sql.ErrNoRows):
		return false, nil
	case err != nil:
		return false, d.Fault(err)
	}
	return true, nil
}

// ErrStop is what a visit returns to be given no more rows; it is not an error for the caller.
var ErrStop = errors.New("no more rows are wanted")

// QueryEach gives each row of one consistent reading to visit, until it fails, says ErrStop or ctx ends.
func (d *Database) QueryEach(ctx context.Context, query string, args []any, visit func(scan func(dest ...any) error) error) error {
	s, err := d.queries.get(query)
	if err != nil {
		return d.Fault(err)
	}
	rows, err := s.QueryContext(ctx, args...)
	if err != nil {
		return d.Fault(err)
	}
	return d.each(rows, visit)
}

func (d *Database) each(rows *sql.Rows, visit func(scan func(dest ...any) error) error) error {
	for rows.Next() {
		if err := visit(rows.Scan); err != nil {
			_ = rows.Close()
			if errors.Is(err, ErrStop) {
				return nil
			}
			return d.Fault(err)
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return d.Fault(err)
	}
	return nil
}

// Fault puts what SQLite or the system says into the platform's terms. Errors that are so already pass through.
func (d *Database) Fault(err error) error {
	var known *platform.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return platform.Errorf(platform.Unavailable, d.path, "given up by the caller: %w", err)
	}
	var e *sqlite.Error
	switch {
	case errors.As(err, &e):
	case d.closed.Load():
		return platform.Errorf(platform.Unavailable, d.path, "the database %s is closed: %w", d.path, err)
	default:
		return platform.Errorf(platform.Internal, d.path, "database %s: %w", d.path, err)
	}
	switch e.Code() & 0xff { // the primary result code, https://www.sqlite.org/rescode.html
	case 13: // SQLITE_FULL
		return platform.Errorf(platform.Unavailable, d.path, "the disk under the database %s is full; nothing was changed; make room and try again: %w", d.path, err)
	case 5, 6, 8, 10, 14: // BUSY, LOCKED, READONLY, IOERR, CANTOPEN
		return platform.Errorf(platform.Unavailable, d.path, "the database %s cannot be used now: %w", d.path, err)
	case 11, 26: // CORRUPT, NOTADB
		return platform.Errorf(platform.Internal, d.path, "the database file %s is damaged; restore it from a backup or move it away to start anew: %w", d.path, err)
	}
	return platform.Errorf(platform.Internal, d.path, "database %s: %w", d.path, err)
}

// statements prepares each query once. The set of queries is fixed by the code, so it never grows for long.
type statements struct {
	db       *sql.DB
	prepared sync.Map // query → *sql.Stmt
}

func (s *statements) get(query string) (*sql.Stmt, error) {
	if p, ok := s.prepared.Load(query); ok {
		return p.(*sql.Stmt), nil
	}
	p, err := s.db.Prepare(query)
	if err != nil {
		return nil, err
	}
	if first, lost := s.prepared.LoadOrStore(query, p); lost {
		_ = p.Close()
		return first.(*sql.Stmt), nil
	}
	return p, nil
}

func (s *statements) close() {
	s.prepared.Range(func(_, p any) bool { _ = p.(*sql.Stmt).Close(); return true })
}

// lockPatience is how long a lock may outlive the process that took it.
const lockPatience = 2 * time.Second

// lockFile takes path+".lock" for this process. The file stays when it is released: to delete it could let two in.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, platform.Errorf(platform.Unavailable, path, "cannot open the database %s: %w", path, err)
	}
	for giveUp := time.Now().Add(lockPatience); ; time.Sleep(lockPatience / 100) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		}
		pid := lockedBy(f)
		// A process that was killed may hold the lock a moment longer, through a child that it was about to start.
		if errors.Is(err, syscall.EWOULDBLOCK) && gone(pid) && time.Now().Before(giveUp) {
			continue
		}
		_ = f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, platform.Errorf(platform.Unavailable, path, "cannot lock the database %s: %w", path, err)
		}
		return nil, platform.Errorf(platform.InUse, path, "the database %s is in use by process %s; stop it, or choose another data folder", path, pid)
	}
	// The number is for people only, so a full disk does not keep the server from starting.
	if f.Truncate(0) == nil {
		_, _ = fmt.Fprintln(f, os.Getpid())
	}
	return f, nil
}

// lockedBy reads the number of the process that took a lock.
func lockedBy(f *os.File) string {
	pid := make([]byte, 20)
	n, _ := f.ReadAt(pid, 0) // an empty file names nobody
	return strings.TrimSpace(string(pid[:n]))
}

// gone reports whether there is no process with a number any more.
func gone(pid string) bool {
	n, err := strconv.Atoi(pid)
	return err == nil && errors.Is(syscall.Kill(n, 0), syscall.ESRCH)
}
