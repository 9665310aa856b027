package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/decide/price"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/platform/catalog"
)

// typical are the models that docs/endpoints.md compares the modes for.
var typical = []struct {
	name     string
	instance platform.InstanceType
	latency  time.Duration
	memory   int64 // GB
	start    time.Duration
}{
	{"a small scikit-learn model", "ml.t2.medium", 10 * time.Millisecond, 1, 2 * time.Second},
	{"gradient-boosted trees", "ml.m5.large", 50 * time.Millisecond, 2, 3 * time.Second},
	{"a transformer on processors", "ml.m5.xlarge", 400 * time.Millisecond, 4, 15 * time.Second},
	{"a larger one on a GPU", "ml.g4dn.xlarge", 100 * time.Millisecond, 12, 40 * time.Second},
}

// typicalCase is one of them, at a load that comes at random.
func typicalCase(t *testing.T, at int, monthly float64) price.Case {
	t.Helper()
	known, m := catalog.BuiltIn("aws"), typical[at]
	i, err := known.Lookup(m.instance)
	if err != nil {
		t.Fatal(err)
	}
	sold, err := known.Serverless()
	if err != nil {
		t.Fatal(err)
	}
	parallel := i.VCPU
	if i.Accelerators > 0 {
		parallel = i.Accelerators
	}
	return price.Case{
		Workload: price.Workload{
			Load: price.Even(monthly), Latency: m.latency, Memory: m.memory << 30, StartUp: m.start, Parallel: parallel, GPU: i.Accelerators > 0,
		},
		Prices: price.Prices{Instance: i.OnDemand, Serverless: &sold}, Terms: price.DefaultTerms,
	}
}

// guide is the part of docs/endpoints.md that the brain writes.
func guide(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	others := []price.Mode{price.Asleep, price.Serverless, price.Provisioned, price.Async}
	head, rule := "| model | instance, a month |", "|---|---|"
	for _, m := range others {
		head, rule = head+" "+modeNames[m]+", below |", rule+"---|"
	}
	fmt.Fprintf(&b, "%s\n%s\n", head, rule)
	for i, m := range typical {
		c := typicalCase(t, i, 1)
		fmt.Fprintf(&b, "| %s: %s, %d GB | 1 × `%s`, %s |", m.name, took(m.latency.Seconds()*1000), m.memory, m.instance, cents(c.Of(price.RealTime).Monthly))
		for _, other := range others {
			fmt.Fprintf(&b, " %s |", below(c, other))
		}
		b.WriteString("\n")
	}
	const shown = 1
	loads := []float64{1_000, 100_000, 10_000_000, 100_000_000}
	head, rule = "\n| "+typical[shown].name+", requests a month |", "|---|"
	for _, n := range loads {
		head, rule = head+" "+grouped(int64(n))+" |", rule+"---:|"
	}
	fmt.Fprintf(&b, "%s\n%s\n", head, rule)
	for _, m := range price.Modes {
		fmt.Fprintf(&b, "| %s |", modeNames[m])
		for _, n := range loads {
			cost := typicalCase(t, shown, n).Of(m)
			fmt.Fprintf(&b, " %s |", pennies(wireAmount(cost.Monthly)))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// below says up to how many requests a month a mode is cheaper than instances that are always there.
func below(c price.Case, m price.Mode) string {
	if c.Of(m).Why != "" {
		return "cannot"
	}
	spans := c.Spans([]price.Mode{price.RealTime, m})
	switch {
	case spans[0].Mode != m:
		return "never"
	case len(spans) == 1 || spans[1].Mode != price.RealTime:
		return "always"
	}
	return fmt.Sprintf("%s (%s busy)", grouped(spans[1].From), share(c.Utilisation(spans[1].From)))
}

// TestTheGuideSaysWhatTheBrainSays holds the tables and the picture of docs/endpoints.md to what is reckoned today.
func TestTheGuideSaysWhatTheBrainSays(t *testing.T) {
	t.Parallel()
	const begin, end = "<!-- reckoned by decide/price; TestTheGuideSaysWhatTheBrainSays -update writes it anew -->\n", "<!-- end -->"
	file := filepath.Join("..", "..", "docs", "endpoints.md")
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(page), begin)
	was, after, also := strings.Cut(rest, end)
	if !found || !also {
		t.Fatalf("%s has no part between %q and %q", file, begin, end)
	}
	now := guide(t)
	b := newBundle(t)
	b.seedEndpoints()
	drawn := filepath.Join(t.TempDir(), "cost.svg")
	if code, out, stderr := b.run("endpoint", "advise", "digits", "--requests-per-month", "300000", "--latency", "50ms", "--memory", "2GB", "--plot", drawn); code != 0 {
		t.Fatalf("%s%s", out, stderr)
	}
	image, err := os.ReadFile(drawn)
	if err != nil {
		t.Fatal(err)
	}
	picture := filepath.Join("..", "..", "docs", "endpoints.svg")
	if updating() {
		if err := os.WriteFile(file, []byte(before+begin+now+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(picture, image, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if was != now {
		t.Errorf("%s says\n%s\nand it is\n%s", file, was, now)
	}
	if have, err := os.ReadFile(picture); err != nil || string(have) != string(image) {
		t.Errorf("%s is not what is drawn now: %v", picture, err)
	}
}
