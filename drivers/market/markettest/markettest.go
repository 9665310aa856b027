// Package markettest is the contract of platform.Market as tests: every driver runs it, and none has tests of its own for
// what is written here.
package markettest

import (
	"sync"
	"testing"
	"time"

	"github.com/stint-ml/stint/platform"
)

// patience is how long news may take.
const patience = 60 * time.Second

// Case is a driver under test.
type Case struct {
	Market platform.Market
	Type   platform.InstanceType // that it offers or has offered
	// Unknown is a type that it does not know; empty when it knows every type.
	Unknown platform.InstanceType
	// Change makes what is offered of Type another; nil when the driver's offers never change.
	Change func()
}

// onDemand is what an instance costs without spot.
var onDemand = platform.HourlyRate{Nanos: 3_060_000_000, Currency: "USD"}

// Run tests a driver. open makes a new market each time; the suite closes it.
func Run(t *testing.T, open func(t *testing.T) Case) {
	for name, test := range map[string]func(*testing.T, Case){
		"Steady":     testSteady,
		"Unknown":    testUnknown,
		"Told":       testTold,
		"NeverBlock": testNeverBlock,
		"Concurrent": testConcurrent,
		"Close":      testClose,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := open(t)
			t.Cleanup(func() {
				if err := c.Market.Close(); err != nil {
					t.Error(err)
				}
			})
			test(t, c)
		})
	}
}

func ask(t *testing.T, c Case) platform.Offer {
	t.Helper()
	o, err := c.Market.Offer(t.Context(), c.Type, onDemand)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// The same question has the same answer until something changes, and a price in the currency of the on-demand price is told
// whether capacity is to be had or not.
func testSteady(t *testing.T, c Case) {
	first := ask(t, c)
	if again := ask(t, c); again != first {
		t.Errorf("%+v, then %+v", first, again)
	}
	if first.Rate.Currency != onDemand.Currency || first.Rate.Nanos <= 0 {
		t.Errorf("the price is %v", first.Rate)
	}
	if c.Change == nil {
		return
	}
	c.Change()
	if after := ask(t, c); after == first || after.Rate.Currency != onDemand.Currency || after.Rate.Nanos <= 0 {
		t.Errorf("after a change of %+v: %+v", first, after)
	}
}

func testUnknown(t *testing.T, c Case) {
	if c.Unknown == "" {
		return
	}
	if _, err := c.Market.Offer(t.Context(), c.Unknown, onDemand); !platform.Is(err, platform.Invalid) {
		t.Errorf("%v", err)
	}
}

// A change is told, to a reader who came before it or after.
func testTold(t *testing.T, c Case) {
	if c.Change == nil {
		select {
		case <-c.Market.Changed():
			t.Error("a market that never changes has news")
		default:
		}
		return
	}
	for range 3 {
		c.Change()
		select {
		case _, ok := <-c.Market.Changed():
			if !ok {
				t.Fatal("an open market has ended its news")
			}
		case <-time.After(patience):
			t.Fatal("a change was not told")
		}
	}
}

// A market whose news nobody reads goes on all the same, and the news wait.
func testNeverBlock(t *testing.T, c Case) {
	if c.Change == nil {
		return
	}
	for range 100 {
		c.Change()
		ask(t, c)
	}
	select {
	case <-c.Market.Changed():
	case <-time.After(patience):
		t.Fatal("no change was told")
	}
}

func testConcurrent(t *testing.T, c Case) {
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				if _, err := c.Market.Offer(t.Context(), c.Type, onDemand); err != nil {
					t.Error(err)
				}
				select {
				case <-c.Market.Changed():
				default:
				}
			}
		})
	}
	if c.Change != nil {
		for range 10 {
			c.Change()
		}
	}
	all.Wait()
}

// Close may come at any moment and again.
func testClose(t *testing.T, c Case) {
	if c.Change != nil {
		c.Change()
	}
	for range 2 {
		if err := c.Market.Close(); err != nil {
			t.Error(err)
		}
	}
}
