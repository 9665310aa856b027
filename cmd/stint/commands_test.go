package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/decide/bill"
	"github.com/stint-ml/stint/platform"
)

// usd is a price an hour.
func usd(nanos platform.Nanos) platform.HourlyRate {
	return platform.HourlyRate{Nanos: nanos, Currency: "USD"}
}

// line opens a ledger line of a job.
func (b *bundle) line(name string, attempt int, purchase platform.Purchase, rate platform.HourlyRate) platform.LedgerEntry {
	return platform.LedgerEntry{
		Line: fmt.Sprintf("%s-%d", name, attempt), Event: platform.LineOpened, At: b.door.Clock.Now(), Attempt: attempt,
		Resource:     apitest.Site.ARN("sagemaker", "training-job/"+name),
		InstanceType: "ml.m5.large", Count: 1, Purchase: purchase, Rate: rate, OnDemandRate: usd(115_000_000),
	}
}

// seed makes a job of every fate.
func (b *bundle) seed() {
	// One that was interrupted on spot capacity and completed at its second attempt.
	b.create("digits-spot")
	first := b.line("digits-spot", 1, platform.Spot, usd(34_500_000))
	b.change("digits-spot", b.enter(platform.JobDownloading), first)
	b.door.Clock.Advance(100 * time.Second)
	b.change("digits-spot", b.enter(platform.JobInterrupted), bill.Close(first, b.door.Clock.Now()))
	b.write("digits-spot", 0, "first attempt")
	b.door.Clock.Advance(time.Hour)
	b.change("digits-spot", b.enter(platform.JobStarting))
	second := b.line("digits-spot", 2, platform.Spot, usd(34_500_000))
	b.change("digits-spot", b.enter(platform.JobTraining), second)
	b.door.Clock.Advance(1500 * time.Millisecond)
	b.write("digits-spot", 86400, "second attempt", "loss=0.25", "bye\r")
	b.change("digits-spot", b.enter(platform.JobUploading))
	b.change("digits-spot", func(st *platform.TrainingStatus) {
		b.enter(platform.JobPhaseCompleted)(st)
		st.Model, st.Billable = "s3://bucket/digits-spot/output/model.tar.gz", 31
		st.Attempts = []platform.Attempt{{Number: 1, Seconds: 100, Ended: st.Created}, {Number: 2, Seconds: 2, Ended: st.Ended}}
		st.Metrics = []platform.MetricValue{{Name: "train:loss", Value: 0.25, At: b.door.Clock.Now()}}
	}, bill.Close(second, b.door.Clock.Now()))
	// One that failed.
	b.door.Clock.Advance(2 * time.Hour)
	b.create("digits-bad")
	b.change("digits-bad", b.enter(platform.JobDownloading))
	b.change("digits-bad", func(st *platform.TrainingStatus) {
		b.enter(platform.JobPhaseFailed)(st)
		st.FailureReason = "AlgorithmError: ValueError: bad\n  File \"train.py\", line 7"
	})
	// One that is at work, and one that waits.
	b.door.Clock.Advance(10 * time.Minute)
	b.create("faces")
	b.change("faces", b.enter(platform.JobDownloading), b.line("faces", 1, platform.OnDemand, usd(115_000_000)))
	b.change("faces", b.enter(platform.JobTraining))
	b.door.Clock.Advance(42 * time.Second)
	b.create("waiting")
	b.door.Clock.Advance(3 * time.Second)
}

// TestCommands plays testdata/commands.txt: each "$ stint …" line is run, and what it prints stands below it, its errors
// behind "!", its exit code when it is not 0.
func TestCommands(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.seed()
	b.play("commands.txt")
}

// play plays a file of commands.
func (b *bundle) play(file string) {
	b.t.Helper()
	script, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		b.t.Fatal(err)
	}
	var played strings.Builder
	for _, command := range strings.Split(string(script), "\n") {
		if strings.HasPrefix(command, "# ") {
			fmt.Fprintf(&played, "%s\n", command)
		}
		words, found := strings.CutPrefix(command, "$ stint ")
		if !found {
			continue
		}
		code, out, stderr := b.run(strings.Fields(words)...)
		fmt.Fprintf(&played, "$ stint %s\n%s", words, out)
		for line := range strings.Lines(stderr) {
			fmt.Fprintf(&played, "! %s", line)
		}
		if code != 0 {
			fmt.Fprintf(&played, "exit %d\n", code)
		}
		played.WriteString("\n")
	}
	golden(b.t, file, played.String())
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.announce("http://127.0.0.1:1")
	for _, line := range []string{"jobs", "describe x", "logs x", "cost x", "stop x", "delete x"} {
		code, out, stderr := b.run(strings.Fields(line)...)
		if want := "stint: no server answers at http://127.0.0.1:1: connection refused; start it with: stint up\n"; code != 3 || out != "" || stderr != want {
			t.Errorf("stint %s: exit %d, out %q, err %q", line, code, out, stderr)
		}
	}
	if code, out, stderr := b.run("env"); code != 0 || !strings.Contains(out, "export AWS_ENDPOINT_URL=http://127.0.0.1:1\n") || !strings.Contains(stderr, "start it with") {
		t.Errorf("env says where the server will be: exit %d, out %q, err %q", code, out, stderr)
	}
	if err := os.Remove(b.home.EndpointFile()); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := b.run("jobs"); code != 3 || stderr != "stint: no server has used the data folder HOME; start one with: stint up\n" {
		t.Errorf("exit %d, err %q", code, stderr)
	}
}

func TestInterruptEndsACommand(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.create("endless")
	done := make(chan int)
	go func() {
		code, _, _ := b.run("logs", "-f", "endless")
		done <- code
	}()
	b.interrupts <- os.Interrupt
	if code := <-done; code != 130 {
		t.Errorf("exit %d", code)
	}
}

func TestFollowLogsToTheEnd(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.create("talker")
	b.change("talker", b.enter(platform.JobDownloading))
	b.change("talker", b.enter(platform.JobTraining))
	b.write("talker", 0, "one", "two", "three")
	done := make(chan string)
	go func() {
		_, out, _ := b.run("logs", "talker", "-f", "--tail", "1")
		done <- out
	}()
	eventually(t, "the tail", func() bool { return strings.Contains(b.out.String(), "three") })
	b.door.Clock.Advance(time.Millisecond)
	b.write("talker", 0, "four")
	eventually(t, "the next line", func() bool { return strings.Contains(b.out.String(), "four") })
	b.door.Clock.Advance(time.Millisecond)
	b.write("talker", 86400, "from another attempt")
	b.change("talker", b.enter(platform.JobPhaseFailed))
	if out := <-done; out != "three\nfour\nfrom another attempt\n" {
		t.Errorf("%q", out)
	}
}

// TestLongTail asks for more lines than one call gives.
func TestLongTail(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.create("talker")
	var lines []string
	for i := range 10_500 {
		lines = append(lines, fmt.Sprintf("line %d", i))
	}
	b.write("talker", 0, lines...)
	_, out, _ := b.run("logs", "talker", "--tail", "10200")
	if want := strings.Join(lines[300:], "\n") + "\n"; out != want {
		t.Errorf("%d lines, from %.20q", strings.Count(out, "\n"), out)
	}
}

func TestStopWaits(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.create("slow")
	done := make(chan string)
	go func() {
		_, out, _ := b.run("stop", "slow", "--wait")
		done <- out
	}()
	b.ends("slow", platform.JobPhaseStopped)
	if out := <-done; out != "slow  Stopped\n" {
		t.Errorf("%q", out)
	}
}

// ends ends a job after it was asked to stop.
func (b *bundle) ends(name string, phase platform.JobPhase) {
	b.t.Helper()
	eventually(b.t, "the wish to stop", func() bool {
		job, err := b.client().DescribeTrainingJob(b.t.Context(), name)
		return err == nil && *job.TrainingJobStatus == "Stopping"
	})
	b.change(name, b.enter(phase))
}

func TestManyJobsTakeSeveralPages(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	for i := range 103 {
		b.create(fmt.Sprintf("job-%03d", i))
		b.door.Clock.Advance(time.Millisecond)
	}
	count := func(args ...string) int {
		_, out, _ := b.run(append([]string{"jobs"}, args...)...)
		return strings.Count(out, "job-")
	}
	for limit, want := range map[string]int{"0": 103, "101": 101, "100": 100, "7": 7} {
		if got := count("--limit", limit); got != want {
			t.Errorf("--limit %s lists %d jobs, want %d", limit, got, want)
		}
	}
}

func TestCompleteJobs(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.seed()
	complete := func(typed string) string {
		b.execute(t.Context(), []string{"__complete", "--home", string(b.home), "describe", typed})
		return b.out.take()
	}
	if out := complete("digits"); !strings.HasPrefix(out, "digits-bad\tFailed\ndigits-spot\tCompleted\n") {
		t.Errorf("%q", out)
	}
	b.announce("http://127.0.0.1:1")
	if out := complete(""); strings.Contains(out, "digits") {
		t.Errorf("%q without a server", out)
	}
}
