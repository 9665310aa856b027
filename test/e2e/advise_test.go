package e2e

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// advised is the part of the advice that the suites look at.
type advised struct {
	Activity struct{ Idle bool }
	Variants []struct {
		Now                 struct{ Mode, InstanceType string }
		Seen                struct{ Requests int64 }
		Load                struct{ MemoryFrom, StartUpFrom string }
		Confidence          string
		Modes               []struct{ Mode, Reason string }
		Recommended         string
		Change              bool
		Steps               []string
		Saves               struct{ Amount, Currency string }
		BreakEvens          []struct{ Mode, Cheaper string }
		LatencyMilliseconds float64
	}
}

func (e *serving) advice(t *testing.T, options ...string) (a advised) {
	t.Helper()
	out, err := e.s.stint(t, append([]string{"endpoint", "advise", e.name, "--json"}, options...)...).Output()
	if err == nil {
		err = json.Unmarshal(out, &a)
	}
	if err != nil || len(a.Variants) != 1 {
		t.Fatalf("%s: %v", out, stderr(err))
	}
	return a
}

// An endpoint that was just made and asked a little: the advice rests on what was measured, and says that it is little. What it
// says to do, word for word, makes it what is recommended.
func TestAdviceIsMeasuredAndCanBeFollowed(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	s.makeBucket(t)
	e := s.deploy(t, "costly", 3, 2)
	e.inService(t)
	e.isMeasured(t)
	v := e.advice(t, "--requests-per-month", "2000", "--latency", "40ms").Variants[0]
	if v.Recommended != "serverless" || !v.Change || v.Saves.Currency != "USD" || len(v.Steps) != 2 || v.Confidence != "given" {
		t.Fatalf("%+v", v)
	}
	aws := newCLI(t, s)
	for _, step := range v.Steps {
		words, isCommand := strings.CutPrefix(step, "aws ")
		if !isCommand {
			t.Fatalf("%q is no command of the AWS CLI", step)
		}
		aws.run(t, shellWords(t, words)...)
	}
	e.inService(t)
	if got, err := e.who(t); err != nil || got.Add != 3 {
		t.Errorf("%+v: %v", got, err)
	}
	if v = e.advice(t, "--requests-per-month", "2000", "--latency", "40ms").Variants[0]; v.Now.Mode != "serverless" || v.Change {
		t.Errorf("afterwards: %+v", v)
	}
}

// isMeasured asks an endpoint a little, and looks at what is known of it then.
func (e *serving) isMeasured(t *testing.T) {
	t.Helper()
	const asked = 20
	for range asked {
		if _, err := e.who(t); err != nil {
			t.Fatal(err)
		}
	}
	var a advised
	eventually(t, 20*time.Second, "the metrics", func() bool { a = e.advice(t); return a.Variants[0].Seen.Requests == asked })
	v := a.Variants[0]
	if v.Now.Mode != "real-time" || v.Now.InstanceType != "ml.t2.medium" || v.Confidence != "low" || a.Activity.Idle || len(v.Modes) != 6 {
		t.Errorf("%+v", a)
	}
	if v.Load.MemoryFrom != "measured" || v.Load.StartUpFrom != "measured" {
		t.Errorf("the load is assumed: %+v", v.Load)
	}
	e.isTold(t)
}

// isTold looks at what a person sees of it.
func (e *serving) isTold(t *testing.T) {
	t.Helper()
	said, err := e.s.stint(t, "endpoint", "advise", e.name).Output()
	if err != nil || !strings.Contains(string(said), "is served by 2 × ml.t2.medium for 81.76 USD a month") || !strings.Contains(string(said), "Confidence is low: only 20 requests were seen") {
		t.Errorf("%s: %v", said, stderr(err))
	}
}

// shellWords are the words of a command as a shell takes them.
func shellWords(t *testing.T, command string) []string {
	t.Helper()
	out, err := exec.Command("bash", "-c", "printf '%s\\0' "+command).Output()
	if err != nil {
		t.Fatalf("%s: %v", command, stderr(err))
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}
