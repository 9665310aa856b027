package server

import (
	"runtime"
	"testing"
)

// The pace falls to Go's own as the heap grows. Tests of a package share a process, so that this one runs alone.
func TestASmallHeapIsCollectedSeldom(t *testing.T) { //nolint:paralleltest // looks at the whole process's heap
	runtime.GC()
	small := pace()
	if small < 200 {
		t.Errorf("a small heap is collected at %d %%", small)
	}
	held := make([]byte, 2*smallHeap)
	runtime.GC()
	if large := pace(); large != 100 {
		t.Errorf("a large heap is collected at %d %%", large)
	}
	runtime.KeepAlive(held)
}
