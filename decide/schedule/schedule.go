// Package schedule decides which waiting jobs start now and which spot work gives its room back. It is pure: from a snapshot
// of the machine, the head of the queue and the spot work that runs to the names to start and to call back. Placement over
// several machines will live here too; queues and I/O must not.
package schedule

import (
	"cmp"
	"slices"
	"time"

	"github.com/stint-ml/stint/platform"
)

// Waiting is a job in the queue with what it needs, already clamped to the machine, and how that is to be bought.
type Waiting struct {
	Name     string
	Need     platform.Capacity
	Purchase platform.Purchase
}

// Running is spot work that runs.
type Running struct {
	Name     string
	Capacity platform.Capacity
	Launched time.Time
	Noticed  bool // it was told to give its room back, and will
}

// Decision is what is to be done now.
type Decision struct {
	Start   []string
	Reclaim []Reclaim
}

// Reclaim is spot work that is to give its room back to work on demand.
type Reclaim struct {
	Name, For string
}

// Plan goes through the queue, which is in the order of arrival: first what is bought on demand, then spot work, which lives
// on what the other leaves over. Within each a later job never passes an earlier one, so that one which needs the whole
// machine is not starved by small ones.
func Plan(free platform.Capacity, queue []Waiting, spot []Running) Decision {
	var d Decision
	// 1. Work on demand starts as long as it fits into what is free.
	onDemand, rest := split(queue)
	for len(onDemand) > 0 && free.Fits(onDemand[0].Need) {
		free = free.Minus(onDemand[0].Need)
		d.Start = append(d.Start, onDemand[0].Name)
		onDemand = onDemand[1:]
	}
	// 2. What is left of it gets the room of spot work, and no spot work starts before it.
	if len(onDemand) > 0 {
		d.Reclaim = reclaim(free, onDemand, spot)
		return d
	}
	// 3. Spot work starts in what remains.
	for _, w := range rest {
		if !free.Fits(w.Need) {
			break
		}
		free = free.Minus(w.Need)
		d.Start = append(d.Start, w.Name)
	}
	return d
}

// split parts the queue by how its jobs are bought.
func split(queue []Waiting) (onDemand, spot []Waiting) {
	for _, w := range queue {
		if w.Purchase == platform.Spot {
			spot = append(spot, w)
		} else {
			onDemand = append(onDemand, w)
		}
	}
	return onDemand, spot
}

// reclaim finds the spot work whose room the waiting jobs need beside what is free and what is on its way back already: the
// youngest, which has the least to lose, and none that would give its room in vain. It stops at the first job that all
// spot work together could not make room for, as no later one may pass it.
func reclaim(room platform.Capacity, queue []Waiting, spot []Running) []Reclaim {
	var back []Reclaim
	var keep []Running // may still be called back, the youngest first
	for _, r := range spot {
		if r.Noticed {
			room = plus(room, r.Capacity)
		} else {
			keep = append(keep, r)
		}
	}
	slices.SortFunc(keep, func(a, b Running) int {
		return cmp.Or(b.Launched.Compare(a.Launched), cmp.Compare(b.Name, a.Name))
	})
	for _, w := range queue {
		chosen := choose(room, w.Need, keep)
		for _, r := range chosen {
			room = plus(room, r.Capacity)
			back = append(back, Reclaim{Name: r.Name, For: w.Name})
		}
		if !room.Fits(w.Need) {
			break
		}
		room = room.Minus(w.Need)
		keep = slices.DeleteFunc(slices.Clone(keep), func(r Running) bool { return slices.Contains(chosen, r) })
	}
	return back
}

// choose takes spot work, the youngest first, until the need fits into the room with theirs, and then spares, the oldest
// first, whoever is not needed for it. None when the need does not fit even then, or fits already.
func choose(room, need platform.Capacity, youngest []Running) []Running {
	var chosen []Running
	for _, r := range youngest {
		if room.Fits(need) {
			break
		}
		room = plus(room, r.Capacity)
		chosen = append(chosen, r)
	}
	if !room.Fits(need) {
		return nil
	}
	for i := len(chosen) - 1; i >= 0; i-- {
		if without := room.Minus(chosen[i].Capacity); without.Fits(need) {
			room = without
			chosen = slices.Delete(chosen, i, i+1)
		}
	}
	return chosen
}

func plus(a, b platform.Capacity) platform.Capacity {
	return platform.Capacity{MilliCPU: a.MilliCPU + b.MilliCPU, MemoryBytes: a.MemoryBytes + b.MemoryBytes, GPUs: a.GPUs + b.GPUs}
}
