package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/platform"
)

const (
	savesAndGoes = `trap 'echo saving; echo saved > $ROOT/model/m; exit 0' TERM; echo ready; while :; do sleep 0.02; done`
	goesOn       = `trap '' TERM; echo ready; while :; do sleep 0.02; done`
)

// busy is what a machine that does other things as well may add to a time. Whoever does not keep a time takes far longer.
const busy = 15 * time.Second

// endsWithin waits for the agent and fails unless it was gone by the end of a notice given at a time.
func (b *bench) endsWithin(t *testing.T, given time.Time, notice time.Duration) platform.Outcome {
	t.Helper()
	o := b.wait(t)
	if took := time.Since(given); took > notice+busy {
		t.Errorf("the agent ended %v after a notice of %v", took, notice)
	}
	return o
}

func TestInterruptionLetsTheProgramSaveAndUploadsNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t, savesAndGoes)
	given := time.Now()
	b.interruptAt("ready", 60*time.Second)
	b.start(t)
	o := b.endsWithin(t, given, 20*time.Second)
	wantKind(t, o, platform.Interrupted, "the room is needed")
	if o.Model != "" || o.ExitCode != 0 || !slices.Contains(b.log(), "saving") {
		t.Errorf("outcome %+v, log %q", o, b.log())
	}
	if got := b.phases(); slices.Contains(got, platform.PhaseUploading) {
		t.Errorf("phases are %v", got)
	}
}

func TestInterruptionKillsWhatIgnoresItInTime(t *testing.T) {
	t.Parallel()
	b := newBench(t, goesOn)
	b.assignment.StopGrace = 600
	given := time.Now()
	b.interruptAt("ready", 2*time.Second)
	b.start(t)
	o := b.endsWithin(t, given, 2*time.Second)
	wantKind(t, o, platform.Interrupted)
	if o.ExitCode != 137 {
		t.Errorf("the exit code is %d", o.ExitCode)
	}
	if took := time.Since(given); took < time.Second {
		t.Errorf("the program had only %v of 3 s", took)
	}
}

func TestInterruptionKnownTooLateEndsAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, goesOn)
	b.start(t)
	b.until(t, "the script to begin", said("ready"))
	left := time.Now()
	b.set(func(c *control) { c.away = true })
	b.until(t, "the notice to run out", func(*control) bool { return time.Since(left) > 1200*time.Millisecond })
	b.set(func(c *control) {
		now := time.Now()
		c.notice = &platform.Interruption{At: now.Add(-1100 * time.Millisecond), Until: now.Add(-100 * time.Millisecond), Reason: "gone"}
		c.away = false
	})
	wantKind(t, b.endsWithin(t, time.Now(), 2*time.Second), platform.Interrupted, "gone")
}

// The control plane's clock is an hour ahead: only spans count.
func TestNoticeOfAnotherClock(t *testing.T) {
	t.Parallel()
	for name, skew := range map[string]time.Duration{"ahead": time.Hour, "behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, savesAndGoes)
			b.at("ready", func() {
				now := time.Now().Add(skew)
				b.notice = &platform.Interruption{At: now, Until: now.Add(30 * time.Second)}
			})
			b.start(t)
			wantKind(t, b.endsWithin(t, time.Now(), 15*time.Second), platform.Interrupted)
			if !slices.Contains(b.log(), "saving") {
				t.Error("the program had no time to save")
			}
		})
	}
}

// stuck is a store that holds operations back: until the context ends, or as long as it is told.
type stuck struct {
	platform.Blobs
	opening, uploading chan struct{} // closed: goes on; nil: never held
	held               atomic.Int32
}

func (s *stuck) hold(ctx context.Context, gate chan struct{}) error {
	if gate == nil {
		return nil
	}
	s.held.Add(1)
	select {
	case <-gate:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *stuck) Open(ctx context.Context, u platform.URI, offset, length int64) (io.ReadCloser, error) {
	if err := s.hold(ctx, s.opening); err != nil {
		return nil, err
	}
	return s.Blobs.Open(ctx, u, offset, length)
}

func (s *stuck) Upload(ctx context.Context, u platform.URI, r io.Reader) error {
	if err := s.hold(ctx, s.uploading); err != nil {
		return err
	}
	return s.Blobs.Upload(ctx, u, r)
}

// through has the agent use a store that holds back.
func (b *bench) through(s *stuck) {
	s.Blobs = b.blobs
	b.cfg.Blobs = func(string, platform.Session, string) platform.Blobs { return s }
}

func (s *stuck) await(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); s.held.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the store is not used")
		}
	}
}

func TestInterruptionWhileDownloadingEndsAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, "echo ran")
	s := &stuck{opening: make(chan struct{})}
	b.through(s)
	b.put(t, "s3://data/d/a", "1")
	b.input("train", "s3://data/d/")
	b.start(t)
	s.await(t)
	b.interrupt(60 * time.Second)
	wantKind(t, b.endsWithin(t, time.Now(), 15*time.Second), platform.Interrupted, "the room is needed")
	if len(b.log()) > 0 {
		t.Errorf("the program ran: %q", b.log())
	}
}

// awaitNotice waits until the agent has told the notice.
func (b *bench) awaitNotice(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); inode(filepath.Join(b.cfg.Root, "input/spot-interruption.json")) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no notice is told")
		}
	}
}

func TestInterruptionWhileUploadingLetsItFinish(t *testing.T) {
	t.Parallel()
	b := newBench(t, "echo w > $ROOT/model/w")
	s := &stuck{uploading: make(chan struct{})}
	b.through(s)
	b.interruptAt(string(platform.PhaseUploading), 60*time.Second)
	b.start(t)
	s.await(t)
	b.awaitNotice(t)
	close(s.uploading)
	o := b.wait(t)
	wantKind(t, o, platform.Succeeded)
	if untar(t, b.get(t, o.Model))["w"] != "w\n" {
		t.Error("the model is not there")
	}
}

func TestInterruptionWhileUploadingThatTakesTooLong(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script string
		kind   platform.OutcomeKind
	}{
		"of a success is an interruption": {"echo w > $ROOT/model/w", platform.Interrupted},
		"of a failure is the failure":     {"echo w > $ROOT/model/w; exit 3", platform.AlgorithmError},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, c.script)
			s := &stuck{uploading: make(chan struct{})}
			b.through(s)
			given := time.Now()
			b.interruptAt(string(platform.PhaseUploading), 2*time.Second)
			b.start(t)
			o := b.endsWithin(t, given, 2*time.Second)
			wantKind(t, o, c.kind)
			if o.Model != "" {
				t.Errorf("a model is told: %+v", o)
			}
		})
	}
}

func TestStopDuringAnInterruptionIsAStop(t *testing.T) {
	t.Parallel()
	b := newBench(t, `trap 'echo saving; while [ ! -e $ROOT/go ]; do sleep 0.02; done; echo saved > $ROOT/model/m; exit 0' TERM
		echo ready; while :; do sleep 0.02; done`)
	b.onLine = func(line string) {
		switch line {
		case "ready":
			b.notice = noticeOf(60 * time.Second)
		case "saving":
			b.stop = true
		}
	}
	b.start(t)
	b.until(t, "the script to hear of it", said("saving"))
	heard := b.delivered
	b.until(t, "the stop to arrive", func(c *control) bool { return c.delivered > heard })
	if err := os.WriteFile(filepath.Join(b.cfg.Root, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	o := b.wait(t)
	wantKind(t, o, platform.StopObeyed)
	if o.Model == "" {
		t.Error("the model was not uploaded")
	}
}

// The capacity goes although the job is only being stopped, with a grace that is longer.
func TestInterruptionBoundsTheGraceOfAStop(t *testing.T) {
	t.Parallel()
	b := newBench(t, goesOn)
	b.assignment.StopGrace = 600
	given := time.Now()
	b.at("ready", func() { b.stop, b.notice = true, noticeOf(2*time.Second) })
	b.start(t)
	wantKind(t, b.endsWithin(t, given, 2*time.Second), platform.StopObeyed)
}

func TestInterruptedAgentLeavesInTimeWithoutTheServer(t *testing.T) {
	t.Parallel()
	b := newBench(t, savesAndGoes)
	b.onLine = func(line string) { // the notice is the last that is heard of the server
		switch line {
		case "ready":
			b.notice = noticeOf(2 * time.Second)
		case "saving":
			b.away = true
		}
	}
	b.start(t)
	given := time.Now()
	b.leave(t)
	if took := time.Since(given); took > 2*time.Second+busy {
		t.Errorf("it ended after %v", took)
	}
	reports, err := agent.ReadSpool(b.cfg.Dir, 0)
	if err != nil || reports[len(reports)-1].Outcome == nil || reports[len(reports)-1].Outcome.Kind != platform.Interrupted {
		t.Errorf("what it left is %+v, %v", reports, err)
	}
}

// However an end and a notice meet: a job that succeeded has its model, one that was interrupted has none.
func TestNoticeAtTheEndOfTheProgram(t *testing.T) {
	t.Parallel()
	kinds := map[platform.OutcomeKind]int{}
	for i := range 20 {
		// A line waits 0.1 s for others before it is told, and the notice comes with the answer.
		b := newBench(t, fmt.Sprintf(`echo w > $ROOT/model/w; echo ready; exec sleep 0.%03d`, 90+i))
		b.interruptAt("ready", 30*time.Second)
		o := b.run(t)
		kinds[o.Kind]++
		if (o.Kind != platform.Succeeded || o.Model == "") && (o.Kind != platform.Interrupted || o.Model != "") {
			t.Errorf("outcome: %+v", o)
		}
	}
	t.Log(kinds)
}

// ask reads a path of the metadata service.
func ask(t *testing.T, method, url string, header ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// The headers of IMDSv2, as SDKs write them.
const (
	tokenTTL = "X-aws-ec2-metadata-token-ttl-seconds"
	token    = "X-aws-ec2-metadata-token"
)

// beginListener starts a script that waits for a notice, and gives where its metadata service is.
func beginListener(t *testing.T) (b *bench, url string) {
	t.Helper()
	b = newBench(t, `trap 'echo saving; while [ ! -e $ROOT/go ]; do sleep 0.02; done; exit 0' TERM
		echo $AWS_EC2_METADATA_SERVICE_ENDPOINT; echo ready; while :; do sleep 0.02; done`)
	b.assignment.Purchase = platform.Spot
	b.start(t)
	b.until(t, "the script to begin", said("ready"))
	return b, b.log()[0]
}

func (b *bench) endListener(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(b.cfg.Root, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	wantKind(t, b.wait(t), platform.Interrupted)
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	b, url := beginListener(t)
	_, given := ask(t, "PUT", url+"/latest/api/token", tokenTTL, "21600")
	for path, want := range map[string]string{
		"meta-data/instance-type": "ml.m5.large", "meta-data/instance-life-cycle": "spot", "meta-data/instance-life-cycle/": "spot",
	} {
		if code, got := ask(t, "GET", url+"/latest/"+path, token, given); code != 200 || got != want {
			t.Errorf("%s is %d %q, want %q", path, code, got, want)
		}
	}
	if _, id := ask(t, "GET", url+"/latest/meta-data/instance-id"); len(id) != 19 || !strings.HasPrefix(id, "i-") {
		t.Errorf("the instance's id is %q", id)
	}
	var document map[string]any
	if _, text := ask(t, "GET", url+"/latest/dynamic/instance-identity/document"); json.Unmarshal([]byte(text), &document) != nil || document["region"] != "us-east-1" {
		t.Errorf("the identity document is %q", text)
	}
	for what, c := range map[string]struct {
		method, path string
		header       []string
		code         int
	}{
		"no notice":          {"GET", "/latest/meta-data/spot/instance-action", nil, 404},
		"no time":            {"GET", "/latest/meta-data/spot/termination-time", nil, 404},
		"no credentials":     {"GET", "/latest/meta-data/iam/security-credentials/", nil, 404},
		"no such thing":      {"GET", "/", nil, 404},
		"a token that is no": {"GET", "/latest/meta-data/instance-id", []string{token, "x"}, 401},
		"a token for ever":   {"PUT", "/latest/api/token", []string{tokenTTL, "99999999999999999"}, 400},
		"a token without":    {"PUT", "/latest/api/token", nil, 400},
		"nothing to write":   {"PUT", "/latest/meta-data/instance-id", nil, 405},
	} {
		if code, _ := ask(t, c.method, url+c.path, c.header...); code != c.code {
			t.Errorf("%s: %d, want %d", what, code, c.code)
		}
	}
	b.interrupt(time.Minute)
	b.endListener(t)
	if c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://")); err == nil {
		c.Close()
		t.Error("the metadata service outlives its agent")
	}
}

func TestMetadataAndFileTellOfAnInterruption(t *testing.T) {
	t.Parallel()
	b, url := beginListener(t)
	b.interrupt(time.Minute)
	b.until(t, "the script to hear of it", said("saving"))
	until := b.notice.Until.Format("2006-01-02T15:04:05Z")
	if _, got := ask(t, "GET", url+"/latest/meta-data/spot/instance-action"); got != `{"action":"terminate","time":"`+until+`"}` {
		t.Errorf("the notice is %q", got)
	}
	if _, got := ask(t, "GET", url+"/latest/meta-data/spot/termination-time"); got != until {
		t.Errorf("the time is %q", got)
	}
	doc, err := os.ReadFile(filepath.Join(b.cfg.Root, "input/spot-interruption.json"))
	if want := `{"action":"terminate","time":"` + until + `","reason":"the room is needed"}`; err != nil || string(doc) != want {
		t.Errorf("the file is %q (%v), want %q", doc, err, want)
	}
	b.endListener(t)
}

// The user's code owns the folder: what it puts in the notice's way is not followed.
func TestNoticeIsNotWrittenThroughALink(t *testing.T) {
	t.Parallel()
	b := newBench(t, `mkdir $ROOT/elsewhere; echo mine > $ROOT/elsewhere/f; ln -s $ROOT/elsewhere/f $ROOT/input/spot-interruption.json; `+savesAndGoes)
	b.interruptAt("ready", 30*time.Second)
	b.start(t)
	wantKind(t, b.wait(t), platform.Interrupted)
	if text, err := os.ReadFile(filepath.Join(b.cfg.Root, "elsewhere/f")); err != nil || string(text) != "mine\n" {
		t.Errorf("what the link led to is now %q, %v", text, err)
	}
	if text, err := os.ReadFile(filepath.Join(b.cfg.Root, "input/spot-interruption.json")); err != nil || !strings.Contains(string(text), "terminate") {
		t.Errorf("the notice is %q, %v", text, err)
	}
}
