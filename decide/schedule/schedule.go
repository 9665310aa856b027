// Package schedule decides which waiting jobs start now. It is pure: from a snapshot of the machine and the head of the
// queue to the names to start. Placement over several machines will live here too; queues and I/O must not.
package schedule

import "github.com/stint-ml/stint/platform"

// Waiting is a job in the queue with what it needs, already clamped to the machine.
type Waiting struct {
	Name string
	Need platform.Capacity
}

// Plan takes jobs from the head of the queue as long as they fit into what is free. It never lets a later job pass an
// earlier one: a job that needs the whole machine is not starved by small ones.
func Plan(free platform.Capacity, queue []Waiting) []string {
	var start []string
	for _, w := range queue {
		if !free.Fits(w.Need) {
			break
		}
		free = free.Minus(w.Need)
		start = append(start, w.Name)
	}
	return start
}
