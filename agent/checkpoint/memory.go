package checkpoint

import (
	"context"
	"sync"
	"sync/atomic"
)

// memory is the buffers of all shipments together.
type memory struct {
	mu   sync.Mutex
	free int
	wait []chan struct{}
	pool sync.Pool // *[]byte of the usual piece
	unit int
}

// buffer is a piece of memory with several users.
type buffer struct {
	data  []byte
	of    *memory
	cost  int
	whole *[]byte
	users atomic.Int64
}

func newMemory(budget, unit int) *memory {
	return &memory{free: budget, unit: unit, pool: sync.Pool{New: func() any { b := make([]byte, unit); return &b }}}
}

// get waits for n bytes. It has one user.
func (m *memory) get(ctx context.Context, n int) (*buffer, error) {
	b := &buffer{of: m, cost: min(n, m.unit)}
	b.users.Store(1)
	for {
		m.mu.Lock()
		if m.free >= b.cost {
			m.free -= b.cost
			m.mu.Unlock()
			break
		}
		freed := make(chan struct{})
		m.wait = append(m.wait, freed)
		m.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if n > m.unit/2 && n <= m.unit {
		b.whole = m.pool.Get().(*[]byte)
		b.data = (*b.whole)[:n]
	} else {
		b.data = make([]byte, n)
	}
	return b, nil
}

// share sets the number of users; without any the buffer is given back at once.
func (b *buffer) share(users int) {
	b.users.Add(int64(users))
	b.drop(1)
}

// drop ends the use by some.
func (b *buffer) drop(users int) {
	if b.users.Add(-int64(users)) != 0 || users == 0 {
		return
	}
	if b.whole != nil {
		b.of.pool.Put(b.whole)
	}
	b.of.mu.Lock()
	b.of.free += b.cost
	for _, w := range b.of.wait {
		close(w)
	}
	b.of.wait = nil
	b.of.mu.Unlock()
}
