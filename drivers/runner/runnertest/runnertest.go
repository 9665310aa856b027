// Package runnertest is the conformance suite of platform.Runner: every implementation passes it, and the control plane may
// count on nothing that it does not prove.
package runnertest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stint-ml/stint/platform"
)

// The tokens that tell a test's agent how to behave.
const (
	UntilStopped = "until-stopped" // runs until it is asked to stop
	AtOnce       = "at-once"       // ends at once
	Deaf         = "deaf"          // runs on when it is asked to stop
)

// patience bounds every wait of the suite.
const patience = 60 * time.Second

// Harness is what a test of one implementation brings.
type Harness struct {
	// Open opens a Runner. Called again within one test, after the Runner before was closed, it opens the same place again,
	// as a restarted server does.
	Open func(t *testing.T) platform.Runner
}

// Run runs the suite; fresh makes a Harness of its own for each test.
func Run(t *testing.T, fresh func(t *testing.T) Harness) {
	tests := map[string]func(*testing.T, Harness){
		"StartAndList": testStartAndList, "StartTwice": testStartTwice, "StartAtTheSameTime": testStartAtTheSameTime, "StartGivenUp": testStartGivenUp,
		"Stop": testStop, "Kill": testKill, "EndsByItself": testEndsByItself, "Remove": testRemove, "Unknown": testUnknown,
		"BadID": testBadID, "Reopen": testReopen, "EndedWhileClosed": testEndedWhileClosed, "Many": testMany,
		"CapacityAndClose": testCapacityAndClose,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, fresh(t))
		})
	}
}

// Spec is an agent for tests.
func Spec(id platform.AgentID, behaviour string) platform.AgentSpec {
	return platform.AgentSpec{
		ID: id, Token: behaviour, Host: "algo-1", Owner: platform.Key{Kind: platform.KindTrainingJob, Name: "job-of-" + string(id)},
		Capacity: platform.Capacity{MilliCPU: 1000, MemoryBytes: 256 << 20},
	}
}

// open opens a Runner. At the end of the test whatever runs there is ended and everything is removed.
func open(t *testing.T, h Harness) platform.Runner {
	t.Helper()
	r := h.Open(t)
	t.Cleanup(func() { Clear(t, r) })
	return r
}

// Clear removes all agents of a Runner that is still open, and closes it.
func Clear(t *testing.T, r platform.Runner) {
	ctx := context.Background()
	deadline := time.Now().Add(patience)
	for {
		agents, err := r.List(ctx)
		if err != nil {
			t.Errorf("List: %v", err)
		}
		for _, a := range agents {
			_ = r.Kill(ctx, a.ID)
			_ = r.Remove(ctx, a.ID)
		}
		select {
		case _, more := <-r.Ended():
			if !more { // closed: another Runner has the place
				return
			}
		case <-time.After(time.Millisecond):
		}
		if len(agents) == 0 || time.Now().After(deadline) {
			break
		}
	}
	_ = r.Close()
}

func start(t *testing.T, r platform.Runner, id platform.AgentID, behaviour string) {
	t.Helper()
	if err := r.Start(context.Background(), Spec(id, behaviour)); err != nil {
		t.Fatalf("Start %s: %v", id, err)
	}
}

// status finds an agent in the list.
func status(t *testing.T, r platform.Runner, id platform.AgentID) (platform.AgentStatus, bool) {
	t.Helper()
	agents, err := r.List(context.Background())
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	for _, a := range agents {
		if a.ID == id {
			return a, true
		}
	}
	return platform.AgentStatus{}, false
}

func wantRunning(t *testing.T, r platform.Runner, id platform.AgentID) {
	t.Helper()
	if s, ok := status(t, r, id); !ok || !s.Running {
		t.Fatalf("agent %s: listed %v, %+v; want it running", id, ok, s)
	}
}

func wantEnded(t *testing.T, r platform.Runner, id platform.AgentID) {
	t.Helper()
	s, ok := status(t, r, id)
	if !ok || s.Running || s.Ended.IsZero() || s.Owner.Name != "job-of-"+string(id) {
		t.Fatalf("agent %s: listed %v, %+v; want it ended, with a time and its owner", id, ok, s)
	}
}

// next waits for an id from Ended.
func next(t *testing.T, r platform.Runner) platform.AgentID {
	t.Helper()
	select {
	case id := <-r.Ended():
		return id
	case <-time.After(patience):
		t.Fatal("no end was told")
		return ""
	}
}

func must(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func testStartAndList(t *testing.T, h Harness) {
	r := open(t, h)
	start(t, r, "a.1_x-Y", UntilStopped)
	wantRunning(t, r, "a.1_x-Y")
	if s, _ := status(t, r, "a.1_x-Y"); s.Owner != Spec("a.1_x-Y", "").Owner {
		t.Errorf("its owner is %v", s.Owner)
	}
}

func testStartTwice(t *testing.T, h Harness) {
	r := open(t, h)
	start(t, r, "a", AtOnce)
	if id := next(t, r); id != "a" {
		t.Fatalf("%s ended", id)
	}
	start(t, r, "a", UntilStopped) // ended: not started again
	wantEnded(t, r, "a")
	start(t, r, "b", UntilStopped)
	start(t, r, "b", AtOnce) // runs: not started again
	wantRunning(t, r, "b")
	must(t, "Stop", r.Stop(context.Background(), "b"))
	if id := next(t, r); id != "b" {
		t.Fatalf("%s ended", id)
	}
	select {
	case id := <-r.Ended():
		t.Fatalf("%s ended twice", id)
	default:
	}
}

func testStartAtTheSameTime(t *testing.T, h Harness) {
	r := open(t, h)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := r.Start(context.Background(), Spec("a", AtOnce)); err != nil {
				t.Errorf("Start: %v", err)
			}
		})
	}
	group.Wait()
	next(t, r)
	start(t, r, "b", AtOnce)
	if id := next(t, r); id != "b" {
		t.Fatalf("%s ended a second time", id)
	}
}

// A server that stops gives up what it is about to do. The runner must not be left waiting for that.
func testStartGivenUp(t *testing.T, h Harness) {
	r := open(t, h)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := r.Start(ctx, Spec("a", UntilStopped))
	if s, listed := status(t, r, "a"); listed != (err == nil) || listed && !s.Running {
		t.Fatalf("Start gave %v and the agent is listed %v, %+v; want it running without an error, or not there with one", err, listed, s)
	}
	start(t, r, "a", UntilStopped)
	wantRunning(t, r, "a")
}

func testStop(t *testing.T, h Harness) {
	r := open(t, h)
	start(t, r, "a", UntilStopped)
	must(t, "Stop", r.Stop(context.Background(), "a")) // perhaps before the agent can hear it
	next(t, r)
	wantEnded(t, r, "a")
	must(t, "Stop of an ended agent", r.Stop(context.Background(), "a"))
	must(t, "Kill of an ended agent", r.Kill(context.Background(), "a"))
}

func testKill(t *testing.T, h Harness) {
	r := open(t, h)
	start(t, r, "a", Deaf)
	must(t, "Stop", r.Stop(context.Background(), "a"))
	wantRunning(t, r, "a")
	must(t, "Kill", r.Kill(context.Background(), "a"))
	if id := next(t, r); id != "a" {
		t.Fatalf("%s ended", id)
	}
	wantEnded(t, r, "a")
}

func testEndsByItself(t *testing.T, h Harness) {
	r := open(t, h)
	start(t, r, "a", AtOnce)
	if id := next(t, r); id != "a" {
		t.Fatalf("%s ended", id)
	}
	wantEnded(t, r, "a")
}

func testRemove(t *testing.T, h Harness) {
	r := open(t, h)
	start(t, r, "a", UntilStopped)
	if err := r.Remove(context.Background(), "a"); !platform.Is(err, platform.InUse) {
		t.Fatalf("Remove of a running agent gave %v, want InUse", err)
	}
	must(t, "Kill", r.Kill(context.Background(), "a"))
	next(t, r)
	must(t, "Remove", r.Remove(context.Background(), "a"))
	if _, ok := status(t, r, "a"); ok {
		t.Error("a removed agent is listed")
	}
	must(t, "Remove again", r.Remove(context.Background(), "a"))
}

func testUnknown(t *testing.T, h Harness) {
	r := open(t, h)
	ctx := context.Background()
	must(t, "Stop", r.Stop(ctx, "x"))
	must(t, "Kill", r.Kill(ctx, "x"))
	must(t, "Remove", r.Remove(ctx, "x"))
	if u, ok := r.(platform.Undelivered); ok {
		if reports, err := u.Reports(ctx, "x", 0); err != nil || len(reports) > 0 {
			t.Errorf("Reports gave %v, %v", reports, err)
		}
	}
}

func testBadID(t *testing.T, h Harness) {
	r := open(t, h)
	for _, id := range []platform.AgentID{"", "..", "a/b", ".a", "a b", platform.AgentID(fmt.Sprintf("%064d", 1))} {
		if err := r.Start(context.Background(), Spec(id, AtOnce)); !platform.Is(err, platform.Invalid) {
			t.Errorf("Start of %q gave %v, want Invalid", id, err)
		}
	}
}

func testReopen(t *testing.T, h Harness) {
	first := open(t, h)
	start(t, first, "runs", UntilStopped)
	start(t, first, "deaf", Deaf)
	start(t, first, "ended", AtOnce)
	next(t, first)
	must(t, "Close", first.Close())
	second := open(t, h)
	wantRunning(t, second, "runs")
	wantRunning(t, second, "deaf")
	wantEnded(t, second, "ended")
	start(t, second, "runs", AtOnce)
	start(t, second, "ended", UntilStopped)
	wantRunning(t, second, "runs")
	wantEnded(t, second, "ended")
	must(t, "Stop", second.Stop(context.Background(), "runs"))
	if id := next(t, second); id != "runs" {
		t.Fatalf("%s ended", id)
	}
	must(t, "Kill", second.Kill(context.Background(), "deaf"))
	if id := next(t, second); id != "deaf" {
		t.Fatalf("%s ended", id)
	}
	for _, id := range []platform.AgentID{"runs", "deaf", "ended"} {
		wantEnded(t, second, id)
		must(t, "Remove", second.Remove(context.Background(), id))
	}
}

func testEndedWhileClosed(t *testing.T, h Harness) {
	first := open(t, h)
	start(t, first, "a", UntilStopped)
	must(t, "Stop", first.Stop(context.Background(), "a"))
	must(t, "Close", first.Close())
	deadline := time.Now().Add(patience)
	for {
		r := open(t, h)
		s, ok := status(t, r, "a")
		if !ok {
			t.Fatal("the agent was forgotten")
		}
		if !s.Running {
			wantEnded(t, r, "a")
			return
		}
		must(t, "Close", r.Close())
		if time.Now().After(deadline) {
			t.Fatal("the agent does not end")
		}
	}
}

func testMany(t *testing.T, h Harness) {
	r := open(t, h)
	const n = 20
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			if err := r.Start(context.Background(), Spec(platform.AgentID(fmt.Sprint("m", i)), UntilStopped)); err != nil {
				t.Errorf("Start: %v", err)
			}
		})
	}
	group.Wait()
	for i := range n {
		must(t, "Kill", r.Kill(context.Background(), platform.AgentID(fmt.Sprint("m", i))))
	}
	seen := map[platform.AgentID]bool{}
	for range n {
		id := next(t, r)
		if seen[id] {
			t.Errorf("%s ended twice", id)
		}
		seen[id] = true
	}
}

func testCapacityAndClose(t *testing.T, h Harness) {
	r := open(t, h)
	c, err := r.Capacity(context.Background())
	if err != nil || c.MilliCPU <= 0 || c.MemoryBytes <= 0 {
		t.Errorf("Capacity is %+v, %v", c, err)
	}
	must(t, "Close", r.Close())
	must(t, "Close again", r.Close())
	select {
	case _, more := <-r.Ended():
		if more {
			t.Error("Ended told something after Close")
		}
	case <-time.After(patience):
		t.Error("Ended stays open after Close")
	}
}
