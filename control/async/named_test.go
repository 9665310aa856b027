package async_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/platform"
)

// What an earlier invocation of the same name left does not answer the next one, also for a process that takes up another's queue.
func TestAnAnswerOfTheSameNameIsReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hasty{time.Now()})
	const at = "s3://b/latest.json"
	if err := w.blobs.Upload(t.Context(), at, strings.NewReader("of yesterday")); err != nil {
		t.Fatal(err)
	}
	w.endpoint(1, 1)
	w.ask("right-1", true, func(in *platform.AsyncInvocation) { in.Output, in.Named = at, true })
	c := w.process(t, forEver())
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	eventually(t, "an answer", func() bool { return w.count(platform.KindAsyncInvocation) == 0 })
	if said := w.object(at); said != "answer to right-1" {
		t.Errorf("the answer is %q", said)
	}
}
