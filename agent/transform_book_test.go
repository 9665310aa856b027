package agent

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stint-ml/stint/platform"
)

// brokenOff is a context that ends while somebody looks whether it has.
type brokenOff struct {
	context.Context
	once sync.Once
	end  context.CancelFunc
}

func (c *brokenOff) Err() error {
	before := c.Context.Err()
	c.once.Do(func() {
		c.end()
		for range 100 { // let whoever is told of it go first
			runtime.Gosched()
		}
	})
	return before
}

// Work that is broken off just as it begins to wait for room must not wait for ever: nothing will be done with any more.
func TestBookDoesNotMissThatWorkIsBrokenOff(t *testing.T) {
	t.Parallel()
	for range 20 {
		b := newBook(&agent{Config: Config{Clock: platform.SystemClock{}}}, platform.TransformProgress{})
		b.begin(t.Context(), "s3://in/a")
		for i := range bookLimit {
			b.progress.Beyond = append(b.progress.Beyond, platform.URI(fmt.Sprintf("s3://in/b%04d", i)))
		}
		ctx, cancel := context.WithCancel(t.Context())
		began := make(chan struct{})
		go func() {
			defer close(began)
			b.begin(&brokenOff{Context: ctx, end: cancel}, "s3://in/c")
		}()
		select {
		case <-began:
		case <-time.After(time.Minute):
			t.Fatal("it still waits for room")
		}
		b.close()
	}
}
