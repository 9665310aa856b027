package control

import (
	"sync"

	"github.com/stint-ml/stint/platform"
)

// Room knows what of the machine is held and by whom, for controllers that share it. It is rebuilt by their resyncs.
type Room struct {
	mu    sync.Mutex
	held  map[string]platform.Capacity
	freed []func()
}

// NewRoom makes a room in which nothing is held.
func NewRoom() *Room { return &Room{held: map[string]platform.Capacity{}} }

// Hold notes that somebody has a part, whether it fits or not: it is there already.
func (r *Room) Hold(who string, c platform.Capacity) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held[who] = c
}

// Take holds a part if it fits into what is free of the machine.
func (r *Room) Take(who string, c, machine platform.Capacity) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, has := r.held[who]; has {
		return true
	}
	if !machine.Minus(r.used()).Fits(c) {
		return false
	}
	r.held[who] = c
	return true
}

// Free is what of the machine nobody holds.
func (r *Room) Free(machine platform.Capacity) platform.Capacity {
	r.mu.Lock()
	defer r.mu.Unlock()
	return machine.Minus(r.used())
}

// Fit lets somebody who holds one sum for many decide anew what it is, knowing what others hold; nobody takes anything
// meanwhile.
func (r *Room) Fit(who string, decide func(others platform.Capacity) platform.Capacity) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.held, who)
	r.held[who] = decide(r.used())
}

// Release gives a part back and tells those who wait for room; what is not held is fine.
func (r *Room) Release(who string) {
	r.mu.Lock()
	_, had := r.held[who]
	delete(r.held, who)
	freed := r.freed
	r.mu.Unlock()
	for _, f := range freed {
		if had {
			f()
		}
	}
}

// Freed calls f, which must be brief, whenever a part has been given back.
func (r *Room) Freed(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.freed = append(r.freed, f)
}

func (r *Room) used() platform.Capacity {
	var sum platform.Capacity
	for _, c := range r.held {
		sum.MilliCPU += c.MilliCPU
		sum.MemoryBytes += c.MemoryBytes
		sum.GPUs += c.GPUs
	}
	return sum
}
