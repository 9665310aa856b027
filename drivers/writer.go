package drivers

import (
	"context"
	"database/sql"
	"runtime"
)

// maxBatch bounds how many changes share a transaction, and with it how long the first of them waits for the last.
const maxBatch = 256

// change is one caller's share of a batch.
type change struct {
	apply   func(*Tx) error
	settled func(committed bool)
	err     chan error // of capacity 1: the writer never waits for a caller that gave up
}

// Write runs apply within a transaction, makes it durable and returns. Changes of concurrent callers share a transaction,
// in the order in which they came; each sees those before it. Before it returns, and before any later change is applied,
// settled (which may be nil) is told whether the change was kept, once, in the same order.
//
// When apply fails, nothing of its change is kept and its neighbours do not notice; it should find its reasons to fail
// before its first Exec, for after it the whole batch is done again one by one. So apply may run several times.
// When the transaction fails nothing is kept. When ctx ends first, the change may happen or not.
func (d *Database) Write(ctx context.Context, apply func(*Tx) error, settled func(committed bool)) error {
	c := &change{apply: apply, settled: settled, err: make(chan error, 1)}
	if err := d.enqueue(ctx, c); err != nil {
		return err
	}
	select {
	case err := <-c.err:
		return err
	case <-ctx.Done():
		return d.Fault(ctx.Err())
	}
}

func (d *Database) enqueue(ctx context.Context, c *change) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if err := d.Usable(ctx); err != nil { // select would choose at random
		return err
	}
	select {
	case d.queue <- c:
		return nil
	case <-ctx.Done():
		return d.Fault(ctx.Err())
	}
}

// write is the writing goroutine.
func (d *Database) write(conn *sql.Conn) {
	defer close(d.written)
	tx := &Tx{d: d, conn: conn, prepared: map[string]*sql.Stmt{}}
	defer tx.close()
	var batch []*change
	for c := range d.queue {
		// Callers that the batch before has just released come with their next change if they are let run first.
		runtime.Gosched()
		batch = append(batch[:0], c)
		for more := true; more && len(batch) < maxBatch; {
			select {
			case c, open := <-d.queue:
				if more = open; open {
					batch = append(batch, c)
				}
			default:
				more = false
			}
		}
		if !tx.run(batch) {
			for i := range batch {
				tx.run(batch[i : i+1])
			}
		}
		clear(batch)
	}
}

// Tx is a change's view of the database, valid while its apply runs.
type Tx struct {
	d        *Database
	conn     *sql.Conn
	prepared map[string]*sql.Stmt
	dirty    bool // the change at hand has tried to write
}

// run applies a batch in one transaction and answers its callers. It returns false, having changed and answered nothing,
// when a batch of several must be done again one by one.
func (t *Tx) run(batch []*change) bool {
	errs, err := t.apply(batch)
	if err == nil {
		_, err = t.exec("COMMIT")
	}
	if err != nil {
		// SQLite may have rolled back already, then this fails and that is fine.
		_, _ = t.exec("ROLLBACK")
		if len(batch) > 1 {
			return false
		}
		errs = []error{err}
	}
	for i, c := range batch {
		if c.settled != nil {
			c.settled(errs[i] == nil)
		}
		c.err <- errs[i]
	}
	return true
}

// apply gives the error of each change that failed before it wrote; err means that the whole transaction is spoilt.
func (t *Tx) apply(batch []*change) (errs []error, err error) {
	if _, err := t.exec("BEGIN IMMEDIATE"); err != nil {
		return nil, err
	}
	errs = make([]error, len(batch))
	for i, c := range batch {
		t.dirty = false
		if errs[i] = c.apply(t); errs[i] != nil && t.dirty {
			return nil, errs[i]
		}
	}
	return errs, nil
}

// Exec runs a statement that writes.
func (t *Tx) Exec(query string, args ...any) (sql.Result, error) {
	t.dirty = true
	return t.exec(query, args...)
}

func (t *Tx) exec(query string, args ...any) (sql.Result, error) {
	s, err := t.prepare(query)
	if err != nil {
		return nil, err
	}
	r, err := s.Exec(args...)
	return r, t.d.Fault(err)
}

// QueryRow reads one row; found is false when there is none.
func (t *Tx) QueryRow(query string, args []any, dest ...any) (found bool, err error) {
	s, err := t.prepare(query)
	if err != nil {
		return false, err
	}
	return t.d.scanRow(s.QueryRow(args...), dest)
}

// QueryEach gives each row to visit, which must not use the Tx.
func (t *Tx) QueryEach(query string, args []any, visit func(scan func(dest ...any) error) error) error {
	s, err := t.prepare(query)
	if err != nil {
		return err
	}
	rows, err := s.Query(args...)
	if err != nil {
		return t.d.Fault(err)
	}
	return t.d.each(rows, visit)
}

func (t *Tx) prepare(query string) (*sql.Stmt, error) {
	if s, ok := t.prepared[query]; ok {
		return s, nil
	}
	s, err := t.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, t.d.Fault(err)
	}
	t.prepared[query] = s
	return s, nil
}

func (t *Tx) close() {
	for _, s := range t.prepared {
		_ = s.Close()
	}
	_ = t.conn.Close()
}
