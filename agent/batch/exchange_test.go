package batch

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/decide/records"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// processing keeps of a record its first field for the output, and gives the others to the model.
func processing(t require) *records.Processing {
	p, err := records.New(&sagemaker.CreateTransformJobRequest{
		TransformInput: &sagemaker.TransformInput{ContentType: new("text/csv"), SplitType: new(sagemaker.SplitTypeLine)},
		TransformOutput: &sagemaker.TransformOutput{
			Accept: new("text/csv"), AssembleWith: new(sagemaker.AssemblyTypeLine),
		},
		DataProcessing: &sagemaker.DataProcessing{InputFilter: new("$[1:]"), JoinSource: new(sagemaker.JoinSourceInput), OutputFilter: new("$[0,-1]")},
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return p
}

// require is a test of any kind.
type require interface {
	Fatalf(format string, args ...any)
}

// payloads takes an object apart into exchanges of up to n payloads, answers each, and gives what was sent and what is gathered.
func payloads(t require, s *Sender, object string, n int) (sent []string, gathered string) {
	f := &filler{s: s, records: readerOf(s.Split, strings.NewReader(object))}
	var out bytes.Buffer
	for {
		x := &exchange{}
		if err := f.fill(x, n); err != nil {
			t.Fatalf("%v", err)
		}
		if len(x.parts) == 0 {
			return sent, out.String()
		}
		if len(x.parts) > n {
			t.Fatalf("%d payloads, not %d", len(x.parts), n)
		}
		for i := range x.parts {
			payload := string(s.payload(x, i))
			sent = append(sent, payload)
			for line := range strings.SplitSeq(payload, "\n") {
				x.answers = fmt.Appendf(x.answers, "%d\n", len(line))
			}
			x.parts[i].answer = len(x.answers)
		}
		if err := s.write(&out, x); err != nil {
			t.Fatalf("%v", err)
		}
	}
}

// How many payloads make an exchange is nobody's matter but the connections'.
func TestPayloadsAreTheSameHoweverManyGoTogether(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := &Sender{Batches: agent.Batches{
			Split: sagemaker.SplitTypeLine, Most: 1 << 20, Single: rapid.Bool().Draw(t, "single"), Fill: rapid.IntRange(1, 100).Draw(t, "fill"), EndLines: true,
		}}
		if rapid.Bool().Draw(t, "processed") {
			s.Processing = processing(t)
		}
		object := strings.Join(rapid.SliceOfN(rapid.StringMatching(`[a-z]{1,5}(,[a-z]{0,9}){1,4}`), 0, 60).Draw(t, "lines"), "\n")
		sent, gathered := payloads(t, s, object, 1)
		sentTogether, gatheredTogether := payloads(t, s, object, rapid.IntRange(2, mostPayloads).Draw(t, "together"))
		if !slices.Equal(sent, sentTogether) || gathered != gatheredTogether {
			t.Fatalf("one by one  %q, %q\ntogether    %q, %q", sent, gathered, sentTogether, gatheredTogether)
		}
	})
}

// A record of which nothing is left for the model is an empty payload, not the whole record.
func TestAPayloadMayBeEmpty(t *testing.T) {
	t.Parallel()
	s := &Sender{Batches: agent.Batches{Split: sagemaker.SplitTypeLine, Single: true, Most: 1 << 20, Processing: processing(t)}}
	if sent, _ := payloads(t, s, "a,\nb,\n", 8); !slices.Equal(sent, []string{"", ""}) {
		t.Errorf("%q", sent)
	}
}

func TestLargePayloadsGoAlone(t *testing.T) {
	t.Parallel()
	s := &Sender{Batches: agent.Batches{Split: sagemaker.SplitTypeLine, Single: true, Most: 1 << 20}}
	line := strings.Repeat("x", mostTogether)
	f := &filler{s: s, records: readerOf(s.Split, strings.NewReader("a\n"+line+"\nb\nc\n"))}
	var got []int
	for x := new(exchange); ; {
		if err := f.fill(x, mostPayloads); err != nil {
			t.Fatal(err)
		}
		if len(x.parts) == 0 {
			break
		}
		got = append(got, len(x.parts))
	}
	if !slices.Equal(got, []int{2, 2}) { // one that is large is the last
		t.Errorf("%v payloads go together", got)
	}
}

func TestPaceFollowsTheModel(t *testing.T) {
	t.Parallel()
	var p pace
	for _, step := range []struct {
		each time.Duration // what a payload takes
		want int           // payloads together, in the end
	}{{10 * time.Microsecond, mostPayloads}, {100 * time.Microsecond, mostPayloads}, {time.Second, 1}, {300 * time.Microsecond, 4}, {3 * time.Millisecond, 1}} {
		for range 20 {
			n := p.payloads()
			p.note(n, time.Duration(n)*step.each)
		}
		if got := p.payloads(); got != step.want {
			t.Errorf("at %v each %d go together, not %d", step.each, got, step.want)
		}
	}
	p.note(1, time.Hour)
	p.note(1, time.Microsecond)
	if p.note(1, time.Microsecond); p.payloads() != 2 {
		t.Errorf("an exchange that is not full says that %d may go together", p.payloads())
	}
}

// listen is a container that does with each of its connections what a test says.
func listen(t testing.TB, serve func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	return l.Addr().String()
}

// scripted is a sender and such a container.
func scripted(t *testing.T, serve func(conn net.Conn, requests *bufio.Reader)) *Sender {
	t.Helper()
	s := NewSender(t.Context(), agent.Batches{
		Address: listen(t, func(conn net.Conn) { serve(conn, bufio.NewReader(conn)) }),
		Split:   sagemaker.SplitTypeLine, Single: true, Most: 1 << 24, Concurrent: 1, Timeout: time.Minute, Clock: platform.SystemClock{},
	})
	t.Cleanup(s.Close)
	return s
}

// arrives reads one request.
func arrives(r *bufio.Reader) bool {
	q, err := http.ReadRequest(r)
	if err == nil {
		_, err = io.Copy(io.Discard, q.Body)
	}
	return err == nil
}

const yes = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"

// A container that ends its connections after each answer without a word is asked over new ones, and no try is counted.
func TestAConnectionThatWasClosedWhileItIdledCostsNoTry(t *testing.T) {
	t.Parallel()
	s := scripted(t, func(conn net.Conn, requests *bufio.Reader) {
		if arrives(requests) {
			fmt.Fprint(conn, yes)
		}
	})
	var out bytes.Buffer
	if err := s.Object(t.Context(), strings.NewReader(strings.Repeat("a\n", 50)), &out); err != nil || out.String() != strings.Repeat("yes", 50) {
		t.Errorf("%q: %v", out.String(), err)
	}
}

// That an answer is late does not say that the request has not come.
func TestARequestWhoseAnswerIsLateIsNotSentAgainBesideItsTries(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	s := scripted(t, func(conn net.Conn, requests *bufio.Reader) {
		for arrives(requests) {
			if asked.Add(1) == 1 {
				fmt.Fprint(conn, yes)
			}
		}
	})
	s.conns[0].timeout = 100 * time.Millisecond
	err := s.Object(t.Context(), strings.NewReader("a\nb\n"), io.Discard)
	if err == nil || !strings.Contains(err.Error(), "InvocationsTimeoutInSeconds") || asked.Load() != 2 {
		t.Errorf("asked %d times: %v", asked.Load(), err)
	}
}

// A container need not read a long request to its end before it answers.
func TestALongRequestMayBeAnsweredBeforeItIsRead(t *testing.T) {
	t.Parallel()
	s := scripted(t, func(conn net.Conn, requests *bufio.Reader) {
		_, _ = io.ReadFull(requests, make([]byte, 100))
		fmt.Fprint(conn, yes)
		_, _ = io.Copy(io.Discard, io.LimitReader(requests, 1<<20)) // leaves the rest where it is until the sender goes
		_, _ = io.Copy(io.Discard, requests)
	})
	var out bytes.Buffer
	line := strings.Repeat("x", 12<<20) + "\n"
	if err := s.Object(t.Context(), strings.NewReader(line+line), &out); err != nil || out.String() != "yesyes" {
		t.Errorf("%q: %v", out.String(), err)
	}
}
