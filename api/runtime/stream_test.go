package runtime_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"

	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/platform"
)

const streamed = invocations + "-response-stream"

// events reads a stream to its end; each is its headers' values and its payload. The decoder checks the lengths and both checksums.
func events(t *testing.T, r reply) (said []string) {
	t.Helper()
	decoder := eventstream.NewDecoder()
	for {
		m, err := decoder.Decode(r.Body, nil)
		if errors.Is(err, io.EOF) {
			return said
		}
		if err != nil {
			t.Fatalf("after %q: %v", said, err)
		}
		text := ""
		for _, h := range m.Headers {
			text += fmt.Sprintf("%s=%s ", h.Name, h.Value.Get())
		}
		said = append(said, text+string(m.Payload))
	}
}

const partHeaders = ":message-type=event :event-type=PayloadPart :content-type=application/octet-stream "

func TestAStreamIsOfEvents(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("0123456789", 10_000)
	d, c := open(t, func(platform.Invocation) (*platform.Answer, error) {
		return answers(200, io.MultiReader(strings.NewReader("one"), strings.NewReader("two\x00"), strings.NewReader(long)),
			"Content-Type", "application/jsonlines", "Content-Length", "100007", "X-Amzn-SageMaker-Custom-Attributes", "so"), nil
	})
	r := post(t, d, apitest.Of(d.Root), streamed, strings.NewReader("in"), "Accept", "*/*", "X-Amzn-SageMaker-Accept", "application/jsonlines",
		"X-Amzn-SageMaker-Target-Variant", "blue")
	for name, want := range map[string]string{
		"Content-Type": "application/vnd.amazon.eventstream", "X-Amzn-SageMaker-Content-Type": "application/jsonlines",
		"X-Amzn-Invoked-Production-Variant": "blue", "X-Amzn-SageMaker-Custom-Attributes": "so", "Content-Length": "",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("the caller sees %s: %q, want %q", name, got, want)
		}
	}
	said := events(t, r)
	if !slices.Equal(said[:2], []string{partHeaders + "one", partHeaders + "two\x00"}) {
		t.Errorf("the stream begins %q", said[:2])
	}
	rest := ""
	for _, e := range said[2:] {
		part, ok := strings.CutPrefix(e, partHeaders)
		if !ok {
			t.Fatalf("an event is %.100q", e)
		}
		rest += part
	}
	if rest != long {
		t.Errorf("%d bytes came of %d", len(rest), len(long))
	}
	if in := c.asked[0]; in.Variant != "blue" || string(in.Body) != "in" || in.Header["Accept"][0] != "application/jsonlines" || len(in.Header) != 1 {
		t.Errorf("the data plane is asked %+v", in)
	}
}

func TestAStreamWithoutATypeOrAnythingInIt(t *testing.T) {
	t.Parallel()
	d, _ := open(t, func(platform.Invocation) (*platform.Answer, error) { return answers(200, strings.NewReader("")), nil })
	r := post(t, d, apitest.Of(d.Root), streamed, nil)
	if said := events(t, r); r.StatusCode != 200 || len(said) != 0 || r.Header.Values("X-Amzn-SageMaker-Content-Type") != nil {
		t.Errorf("%d %v %q", r.StatusCode, r.Header, said)
	}
}

// late is the end of a body that takes too long.
type late struct{}

func (late) Read([]byte) (int, error) { return 0, platform.ErrTooLate }

func TestAStreamTellsThatItBreaksOff(t *testing.T) {
	t.Parallel()
	for code, end := range map[string]io.Reader{"StreamBroken": broken{}, "ModelInvocationTimeExceeded": late{}} {
		d, _ := open(t, func(platform.Invocation) (*platform.Answer, error) {
			return answers(200, io.MultiReader(strings.NewReader("half"), end)), nil
		})
		said := events(t, post(t, d, apitest.Of(d.Root), streamed, nil))
		if len(said) != 2 || said[0] != partHeaders+"half" ||
			!strings.HasPrefix(said[1], `:message-type=exception :exception-type=ModelStreamError :content-type=application/json {"ErrorCode":"`+code+`","Message":"The `) {
			t.Errorf("%s is told as %q", code, said)
		}
	}
}

func TestAnErrorBeforeAStreamIsAModelError(t *testing.T) {
	t.Parallel()
	d, _ := open(t, func(platform.Invocation) (*platform.Answer, error) {
		return answers(500, strings.NewReader("torn")), nil
	})
	if said := refused(t, post(t, d, apitest.Of(d.Root), streamed, nil), http.StatusFailedDependency); said.Code != "ModelError" || said.OriginalMessage != "torn" {
		t.Errorf("it is told as %+v", said)
	}
}

// endless streams until it is closed.
type endless struct{ closed chan struct{} }

func (e endless) Read(p []byte) (int, error) { return len(p), nil }

func (e endless) Close() error { close(e.closed); return nil }

func TestACallerWhoLeavesEndsTheContainersWork(t *testing.T) {
	t.Parallel()
	for _, path := range []string{invocations, streamed} {
		body := endless{make(chan struct{})}
		d, _ := open(t, func(platform.Invocation) (*platform.Answer, error) {
			return &platform.Answer{Variant: "v", Status: 200, Body: body}, nil
		})
		r := post(t, d, apitest.Of(d.Root), path, nil)
		if _, err := io.ReadFull(r.Body, make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		select {
		case <-body.closed:
		case <-time.After(60 * time.Second):
			t.Fatalf("%s: the container works on for nobody", path)
		}
	}
}
