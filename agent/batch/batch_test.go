package batch_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/agent/batch"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// model is a container whose handler is given; it keeps what it was sent.
type model struct {
	address string
	mu      sync.Mutex
	sent    []string
}

func serve(t *testing.T, handle http.HandlerFunc) *model {
	t.Helper()
	m := &model{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		m.mu.Lock()
		m.sent = append(m.sent, string(body))
		m.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		handle(w, r)
	}))
	t.Cleanup(s.Close)
	m.address = s.Listener.Addr().String()
	return m
}

// echo answers with what it was sent.
func echo(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }

func plan(m *model, change func(*agent.Batches)) agent.Batches {
	b := agent.Batches{
		Address: m.address, Split: sagemaker.SplitTypeLine, Most: 1 << 20, Fill: 1 << 20, Concurrent: 2, Timeout: time.Minute,
		ContentType: "text/csv", Clock: platform.SystemClock{},
	}
	change(&b)
	return b
}

func transform(t *testing.T, b agent.Batches, object string) (string, error) {
	t.Helper()
	s := batch.NewSender(t.Context(), b)
	defer s.Close()
	var out bytes.Buffer
	err := s.Object(t.Context(), strings.NewReader(object), &out)
	return out.String(), err
}

func recordIO(records ...string) string {
	var b []byte
	for _, r := range records {
		b = binary.LittleEndian.AppendUint32(b, 0xced7230a)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(r)))
		b = append(append(b, r...), make([]byte, -len(r)&3)...)
	}
	return string(b)
}

func tfRecords(records ...string) string {
	sum := func(data []byte) uint32 {
		c := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
		return (c>>15 | c<<17) + 0xa282ead8
	}
	var b []byte
	for _, r := range records {
		head := binary.LittleEndian.AppendUint64(nil, uint64(len(r)))
		b = append(b, head...)
		b = binary.LittleEndian.AppendUint32(b, sum(head))
		b = append(b, r...)
		b = binary.LittleEndian.AppendUint32(b, sum([]byte(r)))
	}
	return string(b)
}

func TestObjectsAreTakenApart(t *testing.T) {
	t.Parallel()
	cut := recordIO("ab")[:0] + "\x0a\x23\xd7\xce\x03\x00\x00\x20abc\x00\x0a\x23\xd7\xce\x01\x00\x00\x60d\x00\x00\x00" // parts 1 and 3
	for name, c := range map[string]struct {
		split  sagemaker.SplitType
		single bool
		fill   int
		object string
		sent   []string
	}{
		"lines":               {sagemaker.SplitTypeLine, false, 100, "a\nbb\r\n\nccc", []string{"a\nbb\nccc"}},
		"single lines":        {sagemaker.SplitTypeLine, true, 100, "a\nbb\r\n\nccc\n", []string{"a", "bb", "ccc"}},
		"lines up to a size":  {sagemaker.SplitTypeLine, false, 5, "a\nbb\nccc\ndddddddd\ne", []string{"a\nbb", "ccc", "dddddddd", "e"}},
		"whole":               {sagemaker.SplitTypeNone, false, 100, "a\nb\n", []string{"a\nb\n"}},
		"nothing":             {sagemaker.SplitTypeNone, false, 100, "", nil},
		"empty lines":         {sagemaker.SplitTypeLine, false, 100, "\n\r\n\n", nil},
		"RecordIO":            {sagemaker.SplitTypeRecordIO, false, 100, recordIO("a", "bbbbb"), []string{recordIO("a", "bbbbb")}},
		"RecordIO up to size": {sagemaker.SplitTypeRecordIO, false, 20, recordIO("a", "bbbbb"), []string{recordIO("a"), recordIO("bbbbb")}},
		"single RecordIO":     {sagemaker.SplitTypeRecordIO, true, 100, recordIO("a", "bbbbb"), []string{"a", "bbbbb"}},
		"cut RecordIO":        {sagemaker.SplitTypeRecordIO, true, 100, cut + recordIO("x"), []string{"abc\x0a\x23\xd7\xced", "x"}},
		"TFRecord":            {sagemaker.SplitTypeTFRecord, false, 100, tfRecords("a", "bbbbb"), []string{tfRecords("a", "bbbbb")}},
		"single TFRecord":     {sagemaker.SplitTypeTFRecord, true, 100, tfRecords("a", "", "bb"), []string{"a", "", "bb"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := serve(t, echo)
			out, err := transform(t, plan(m, func(b *agent.Batches) {
				b.Split, b.Single, b.Fill, b.Concurrent = c.split, c.single, c.fill, 1
			}), c.object)
			if err != nil || !slices.Equal(m.sent, c.sent) || out != strings.Join(c.sent, "") {
				t.Errorf("sent %q, want %q; gathered %q: %v", m.sent, c.sent, out, err)
			}
		})
	}
}

func TestDamageIsToldAndNotSent(t *testing.T) {
	t.Parallel()
	m := serve(t, echo)
	tf := tfRecords("abc")
	for name, c := range map[string]struct {
		split  sagemaker.SplitType
		object string
		says   string
	}{
		"long line":       {sagemaker.SplitTypeLine, strings.Repeat("x", 1<<20+1), "a line is larger than MaxPayloadInMB allows"},
		"large object":    {sagemaker.SplitTypeNone, strings.Repeat("x", 1<<20+1), "the object is larger than MaxPayloadInMB allows"},
		"no RecordIO":     {sagemaker.SplitTypeRecordIO, "hello, hello", "is not RecordIO"},
		"short RecordIO":  {sagemaker.SplitTypeRecordIO, recordIO("abcdefgh")[:12], "ends within a record"},
		"long RecordIO":   {sagemaker.SplitTypeRecordIO, recordIO(strings.Repeat("x", 1<<20+4)), "RecordIO record is larger"},
		"no TFRecord":     {sagemaker.SplitTypeTFRecord, "hello, hello, hello", "is not TFRecord"},
		"short TFRecord":  {sagemaker.SplitTypeTFRecord, tf[:14], "ends within a record"},
		"broken TFRecord": {sagemaker.SplitTypeTFRecord, tf[:12] + "x" + tf[13:], "checksum is wrong"},
	} {
		_, err := transform(t, plan(m, func(b *agent.Batches) { b.Split = c.split }), c.object)
		if !platform.Is(err, platform.Invalid) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(m.sent) > 0 {
		t.Errorf("%d payloads were sent", len(m.sent))
	}
}

// Whatever the sizes and however many connections answer out of order, what is gathered is what was sent, in its order.
func TestOrderIsKept(t *testing.T) {
	t.Parallel()
	var turn atomic.Int64
	m := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if turn.Add(1)%3 == 0 {
			time.Sleep(time.Millisecond)
		}
		echo(w, r)
	})
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOfN(rapid.StringMatching(`[a-z,]{1,40}`), 0, 60).Draw(t, "lines")
		b := plan(m, func(b *agent.Batches) {
			b.Single, b.Fill, b.Concurrent, b.EndLines = rapid.Bool().Draw(t, "single"), rapid.IntRange(1, 100).Draw(t, "fill"), rapid.IntRange(1, 5).Draw(t, "concurrent"), true
		})
		ctx := t.Context()
		s := batch.NewSender(ctx, b)
		defer s.Close()
		object := strings.Join(lines, "\n")
		var wait sync.WaitGroup
		for range rapid.IntRange(1, 3).Draw(t, "objects") { // at once
			wait.Go(func() {
				var out bytes.Buffer
				want := strings.Join(append(slices.Clone(lines), ""), "\n")
				if err := s.Object(ctx, iotest.HalfReader(strings.NewReader(object)), &out); err != nil || out.String() != want {
					t.Errorf("gathered %q, want %q: %v", out.String(), want, err)
				}
			})
		}
		wait.Wait()
	})
}

func TestRequestsAreTriedAgainWhileTheyMayDoBetter(t *testing.T) {
	t.Parallel()
	for status, tries := range map[int]int64{500: 3, 503: 3, 429: 3, 400: 1, 415: 1} {
		var asked atomic.Int64
		m := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			http.Error(w, "the reason", status)
		})
		_, err := transform(t, plan(m, func(b *agent.Batches) { b.Retries = 2 }), "a\n")
		var refused *agent.Refused
		if !errors.As(err, &refused) || refused.Status != status || !strings.Contains(err.Error(), "the reason") || asked.Load() != tries {
			t.Errorf("%d was asked for %d times: %v", status, asked.Load(), err)
		}
	}
	var asked atomic.Int64
	m := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			panic(http.ErrAbortHandler) // the connection ends without an answer
		}
		echo(w, r)
	})
	if out, err := transform(t, plan(m, func(b *agent.Batches) { b.Retries = 1 }), "a\n"); out != "a" || err != nil {
		t.Errorf("the second answer is %q: %v", out, err)
	}
}

func TestAModelThatDoesNotAnswerIsNotWaitedForForEver(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	m := serve(t, func(http.ResponseWriter, *http.Request) { <-hang })
	_, err := transform(t, plan(m, func(b *agent.Batches) { b.Timeout = 50 * time.Millisecond }), "a\n")
	close(hang)
	if err == nil || !strings.Contains(err.Error(), "InvocationsTimeoutInSeconds") {
		t.Error(err)
	}
}

func TestOneObjectsFailureIsNotAnothers(t *testing.T) {
	t.Parallel()
	m := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if bytes.Contains(body, []byte("bad")) {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		_, _ = w.Write(body)
	})
	s := batch.NewSender(t.Context(), plan(m, func(b *agent.Batches) { b.Single, b.EndLines = true, true }))
	defer s.Close()
	var wait sync.WaitGroup
	for n := range 20 {
		wait.Go(func() {
			object := strings.Repeat(fmt.Sprintf("line of %d\n", n), 50)
			if n%3 == 0 {
				object += "bad\n" + object
			}
			var out bytes.Buffer
			if err := s.Object(t.Context(), strings.NewReader(object), &out); (err != nil) != (n%3 == 0) || err == nil && out.String() != object {
				t.Errorf("object %d: %v", n, err)
			}
		})
	}
	wait.Wait()
}

// An object without a bound is sent while it is read, and what comes back is written while it comes.
func TestObjectsAreStreamed(t *testing.T) {
	t.Parallel()
	m := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%d bytes in %v", len(body), r.TransferEncoding)
	})
	object := strings.Repeat("0123456789", 100_000)
	out, err := transform(t, plan(m, func(b *agent.Batches) { b.Most, b.Split, b.EndLines = 0, sagemaker.SplitTypeNone, true }), object)
	if err != nil || out != "1000000 bytes in [chunked]\n" {
		t.Errorf("%q: %v", out, err)
	}
}

func TestAnInputThatBreaksOffIsTold(t *testing.T) {
	t.Parallel()
	m := serve(t, echo)
	gone := platform.Errorf(platform.Unavailable, "", "the store is away")
	for _, most := range []int{0, 1 << 20} {
		s := batch.NewSender(t.Context(), plan(m, func(b *agent.Batches) { b.Most = most }))
		err := s.Object(t.Context(), io.MultiReader(strings.NewReader("a\nb\n"), iotest.ErrReader(gone)), io.Discard)
		if !platform.Is(err, platform.Unavailable) {
			t.Errorf("at most %d: %v", most, err)
		}
		s.Close()
	}
}

// Memory does not grow with the object: the input is not read ahead of answers that do not come.
func TestNothingIsReadFarAhead(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	m := serve(t, func(w http.ResponseWriter, r *http.Request) {
		<-hold
		echo(w, r)
	})
	var read atomic.Int64
	s := batch.NewSender(t.Context(), plan(m, func(b *agent.Batches) { b.Most, b.Fill = 32<<20, 1<<20 }))
	defer s.Close()
	done := make(chan error, 1)
	line := strings.Repeat("x", 1023) + "\n"
	go func() {
		done <- s.Object(t.Context(), &counted{strings.NewReader(strings.Repeat(line, 32<<10)), &read}, io.Discard)
	}()
	for range 20 { // with two under way and one ahead, three payloads and what is read at once
		time.Sleep(5 * time.Millisecond)
		if n := read.Load(); n > 5<<20 {
			t.Fatalf("%d bytes were read", n)
		}
	}
	close(hold)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

type counted struct {
	io.Reader
	n *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}
