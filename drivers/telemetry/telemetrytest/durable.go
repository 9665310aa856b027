package telemetrytest

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/platform"
)

func testReopen(t *testing.T, open func(t *testing.T, dir string) Telemetry) {
	dir := t.TempDir()
	s := open(t, dir)
	write(t, s, "s", 7, lines(0, 2500)...)
	write(t, s, "s", 8, lines(2500, 3)...)
	noError(t, s.SetRetention(ctx, "g", 14))
	noError(t, s.PutData(ctx, "p", 7, []platform.Datum{datum("loss", 0, 1), datum("loss", 0, 2)}))
	first, next, err := s.Filter(ctx, platform.LogFilter{Group: "g", Limit: 1000})
	noError(t, err)
	noError(t, s.Close())

	s = open(t, dir)
	defer func() { noError(t, s.Close()) }()
	write(t, s, "s", 8, event(0, "delivered already"))
	write(t, s, "s", 9, lines(2503, 2)...)
	all := readAll(t, s, "s")
	if len(all) != 2505 || all[2504].Message != "line 2504" || all[2504].Position != 2504 {
		t.Fatalf("%d events after reopening", len(all))
	}
	rest := filterAll(t, s, platform.LogFilter{Group: "g", Limit: 1000, After: next}) // tokens know nothing of the process
	if !slices.Equal(append(messages(first), messages(rest)...), messages(all)) {
		t.Errorf("a filter goes on with %d events after %d", len(rest), len(first))
	}
	groups, _, err := s.Groups(ctx, "", "", 0)
	noError(t, err)
	if len(groups) != 1 || groups[0].RetentionDays != 14 {
		t.Errorf("groups %+v", groups)
	}
	noError(t, s.PutData(ctx, "p", 7, []platform.Datum{datum("loss", 0, 100)}))
	if got := aggregate(t, s, series("loss"), 0, 1, time.Second); !slices.Equal(got, []string{"0: n=2 sum=3 min=1 max=2 None"}) {
		t.Errorf("metrics %q", got)
	}
}

const crashVariable = "TELEMETRYTEST_CRASH_DIR"

func crashDir() string { return os.Getenv(crashVariable) }

// crashBatch is batch seq of the crash test: of a size and with messages that follow from seq.
func crashBatch(seq int64) (events []platform.LogEvent) {
	for i := range 1 + (seq*seq)%97 {
		events = append(events, event(int(seq), fmt.Sprintf("%d %d", seq, i)))
	}
	return events
}

// appendUntilKilled is the child's life: it delivers batches as an agent does, beginning some before the last that it
// knows to be stored, and prints what was acknowledged.
func appendUntilKilled(t *testing.T, s Telemetry) {
	seq := int64(1)
	if tail, err := s.Read(ctx, platform.LogRead{Group: "g", Stream: "s", From: -1, Limit: 1}); err == nil && len(tail) == 1 {
		word, _, _ := strings.Cut(tail[0].Message, " ")
		last, err := strconv.ParseInt(word, 10, 64)
		noError(t, err)
		seq = max(1, last-3)
	}
	for ; ; seq++ {
		write(t, s, "s", seq, crashBatch(seq)...)
		noError(t, s.PutData(ctx, "p", seq, []platform.Datum{datum("seq", 0, 1), datum("seq", 0, 1)}))
		fmt.Println("appended", seq)
	}
}

// testCrash kills an appending process at random moments, again and again on the same data: what was acknowledged is
// there, once, in order, and no batch by halves.
func testCrash(t *testing.T, parent string, open func(t *testing.T, dir string) Telemetry) {
	dir := t.TempDir()
	var acknowledged int64
	for range 6 {
		acknowledged = max(acknowledged, runAndKill(t, parent, dir))
		s := open(t, dir)
		var want []string
		var last int64
		got := readAll(t, s, "s")
		for last = 0; len(want) < len(got); {
			last++
			for _, e := range crashBatch(last) {
				want = append(want, e.Message)
			}
		}
		if !slices.Equal(messages(got), want) || last < acknowledged {
			t.Errorf("%d events, of batches up to %d; %d was acknowledged", len(got), last, acknowledged)
		}
		for i, e := range got {
			if e.Position != int64(i) {
				t.Fatalf("event %d has position %d", i, e.Position)
			}
		}
		data, err := s.Aggregate(ctx, series("seq"), at(0), at(1), time.Second)
		noError(t, err)
		if n := int64(data[0].Count); n != 2*last && n != 2*last-2 || n < 2*acknowledged {
			t.Errorf("%d data after batch %d; %d was acknowledged", n, last, acknowledged)
		}
		noError(t, s.Close())
	}
	t.Logf("%d acknowledged", acknowledged)
}

// runAndKill gives the last batch that a child's life acknowledged.
func runAndKill(t *testing.T, parent, dir string) (acknowledged int64) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^"+parent+"$")
	child.Env = append(os.Environ(), crashVariable+"="+dir)
	out, err := child.StdoutPipe()
	noError(t, err)
	noError(t, child.Start())
	lines, seen, after := bufio.NewScanner(out), 0, rand.IntN(150)
	var said []string
	for lines.Scan() {
		word, ok := strings.CutPrefix(lines.Text(), "appended ")
		if !ok {
			said = append(said, lines.Text())
			continue
		}
		acknowledged, err = strconv.ParseInt(word, 10, 64)
		noError(t, err)
		if seen++; seen == after+1 {
			// From now on it may die at any instruction; what it prints until then still counts.
			time.AfterFunc(time.Duration(rand.IntN(5000))*time.Microsecond, func() { _ = child.Process.Kill() })
		}
	}
	if err := child.Wait(); seen <= after || child.ProcessState.Exited() {
		t.Fatalf("the child ended by itself after %d batches: %v\n%s", seen, err, strings.Join(said, "\n"))
	}
	return acknowledged
}
