package sim

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stint-ml/stint/decide/bill"
	"github.com/stint-ml/stint/platform"
)

// serverless makes a world with one serverless endpoint of at most three invocations at once, some of them provisioned.
func serverless(t *testing.T, provisioned int) *Serving {
	t.Helper()
	w := NewServing(machine, func(string) ServingPlan { return ServingPlan{Load: 300 * time.Millisecond} })
	if err := w.Create(t.Context(), "e", w.serverless("one", provisioned)); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *Serving) serverless(config string, provisioned int) *platform.Deployment {
	d := w.Deployment(config, 0)
	v := &d.Variants[0]
	v.Type, v.Asked, v.Rate = "serverless.2GB", 1, platform.HourlyRate{Nanos: 36_000_000, Currency: "USD"}
	v.Serverless = &platform.Serverless{
		MemoryMiB: 2048, MaxConcurrency: 3, Provisioned: provisioned,
		Use: platform.HourlyRate{Nanos: 144_000_000, Currency: "USD"}, ProvisionedUse: platform.HourlyRate{Nanos: 82_800_000, Currency: "USD"},
	}
	return d
}

// booked is what of an endpoint's use is written down: in the ledger, and in records that are still open.
func (w *Serving) booked(t *testing.T) (sum platform.Work, open int) {
	t.Helper()
	entries, err := w.Store.Ledger(t.Context(), platform.LedgerQuery{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		sum = sum.Plus(e.Work)
	}
	page, err := w.Store.List(t.Context(), platform.Query{Kind: platform.KindUsage})
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range page.Records {
		var u platform.Usage
		if err := json.Unmarshal(rec.Doc, &u); err != nil {
			t.Fatal(err)
		}
		sum = sum.Plus(u.Work)
	}
	return sum, len(page.Records)
}

func TestAServerlessEndpointFollowsItsRequests(t *testing.T) {
	t.Parallel()
	w := serverless(t, 0)
	w.until(t, platform.EndpointInService)
	for _, asked := range []int{1, 3, 5, 2} {
		w.Asked = asked
		for range 5 {
			w.Step(t.Context(), time.Second)
		}
		if n := w.answering(t); n < min(asked, 3) || n > 3 {
			t.Errorf("%d containers for %d invocations at once", n, asked)
		}
	}
	w.Asked = 0
	for range 2 * 300 {
		w.Step(t.Context(), time.Second)
	}
	if n := len(w.Machine.Started()); n != 0 {
		t.Errorf("%d instances after a long silence", n)
	}
	w.Asked = 1
	for range 3 {
		w.Step(t.Context(), time.Second)
	}
	if n := w.answering(t); n != 1 {
		t.Errorf("%d containers answer the first request after a silence", n)
	}
}

func TestAnEndpointSleepsAndWakes(t *testing.T) {
	t.Parallel()
	w := serving(t, 2)
	w.until(t, platform.EndpointInService)
	const tag = "10m"
	for _, c := range []struct {
		tag                       string
		asked, seconds, instances int
	}{
		{tag, 0, 590, 2}, {tag, 0, 60, 0}, {tag, 1, 10, 2}, {tag, 0, 590, 2}, {tag, 0, 60, 0},
		{"", 0, 20, 2}, {"", 0, 1200, 2}, // without the tag it is awake, and stays so
	} {
		w.tagged(t, c.tag)
		w.Asked = c.asked
		for range c.seconds {
			w.Step(t.Context(), time.Second)
		}
		if n := len(w.Machine.Started()); n != c.instances {
			t.Errorf("%d instances, not %d, after %d s of %d invocations", n, c.instances, c.seconds, c.asked)
		}
	}
}

// tagged says after how long the endpoint is to sleep, as AddTags and DeleteTags do.
func (w *Serving) tagged(t *testing.T, sleep string) {
	t.Helper()
	rec, err := w.Store.Get(t.Context(), platform.Key{Kind: platform.KindEndpoint, Name: "e"})
	if err != nil {
		t.Fatal(err)
	}
	rec.Tags = nil
	if sleep != "" {
		rec.Tags = map[string]string{platform.TagSleep: sleep}
	}
	if err := w.Store.Commit(t.Context(), platform.Tx{Puts: []platform.Put{{Record: rec}}}); err != nil {
		t.Fatal(err)
	}
}

// Whatever fails, no use is written down twice, and only a server's death can lose what it had just been told.
func TestServerlessThroughFaults(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			serverlessThroughFaults(t, rand.New(rand.NewPCG(seed, 5)).IntN, seed%2 == 0)
		})
	}
}

func serverlessThroughFaults(t *testing.T, chance Chance, crashes bool) {
	t.Helper()
	provisioned := chance(2)
	w := serverless(t, provisioned)
	storm := true
	w.Store.Fault = func() (bool, bool) { return storm && chance(6) == 0, chance(2) == 0 }
	for i := range 200 {
		w.Asked = chance(4)
		disturbServerless(t, w, chance, fmt.Sprintf("v%d", i), provisioned, crashes)
		w.Step(t.Context(), time.Duration(1+chance(3000))*time.Millisecond)
	}
	storm = false
	if !w.ServerUp {
		w.Restart()
	}
	w.Asked = 0
	for range 400 {
		w.Step(t.Context(), time.Second)
	}
	e := w.until(t, platform.EndpointInService)
	if n := len(w.Machine.Started()); n != provisioned {
		t.Errorf("%d instances after a long silence, %d are provisioned", n, provisioned)
	}
	if err := w.Change(t.Context(), "e", remove(w)); err != nil {
		t.Fatal(err)
	}
	w.until(t, "")
	checkUse(t, w, e.Status.ARN, !crashes)
}

// disturbServerless lets one thing happen, now and then: the server dies or comes back, an agent dies, an update begins.
func disturbServerless(t *testing.T, w *Serving, chance Chance, config string, provisioned int, crashes bool) {
	t.Helper()
	switch chance(25) {
	case 0:
		if crashes && w.ServerUp {
			w.Crash()
		} else if !w.ServerUp {
			w.Restart()
		}
	case 1:
		for _, a := range w.Agents {
			a.Kill()
			break
		}
	case 2:
		_ = w.Change(t.Context(), "e", func(st *platform.EndpointStatus) error { // refused while it is changing
			if st.State != platform.EndpointInService {
				return platform.Errorf(platform.InUse, "e", "changing")
			}
			st.Coming = w.serverless(config, provisioned)
			return st.Enter(platform.EndpointUpdating, w.Clock.Now())
		})
	}
}

// checkUse compares what is written down of an endpoint that is gone with what its containers have worked.
func checkUse(t *testing.T, w *Serving, arn platform.ARN, all bool) {
	t.Helper()
	sum, open := w.booked(t)
	if open != 0 || sum != w.Told && all || sum.Milliseconds > w.Told.Milliseconds || sum.Invocations > w.Told.Invocations {
		t.Errorf("%+v is written down in the end (%d records open), %+v was worked", sum, open, w.Told)
	}
	entries, err := w.Store.Ledger(t.Context(), platform.LedgerQuery{Resource: arn})
	if err != nil {
		t.Fatal(err)
	}
	if s, err := bill.State(entries, w.Clock.Now()); err != nil || s.Open {
		t.Errorf("the bill is still open: %v", err)
	}
}
