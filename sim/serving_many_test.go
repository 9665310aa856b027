package sim

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stint-ml/stint/platform"
)

// usageReads counts how often the store is asked for what serverless variants have used.
type usageReads struct {
	platform.Store
	lists, gets int
}

func (s *usageReads) List(ctx context.Context, q platform.Query) (platform.Page, error) {
	if q.Kind == platform.KindUsage {
		s.lists++
	}
	return s.Store.List(ctx, q)
}

func (s *usageReads) Get(ctx context.Context, key platform.Key) (platform.Record, error) {
	if key.Kind == platform.KindUsage {
		s.gets++
	}
	return s.Store.Get(ctx, key)
}

// What is looked for in the records of use does not grow with the number of endpoints: a list goes through the records of all of them,
// so each endpoint has one in the life of a process; afterwards only records that work is added to are read.
func TestBookkeepingOfManyEndpointsIsEachOnesOwn(t *testing.T) {
	t.Parallel()
	const endpoints, busy, seconds = 1000, 3, 5
	w := NewServing(platform.Capacity{MilliCPU: 1 << 30, MemoryBytes: 1 << 50}, func(string) ServingPlan { return ServingPlan{} })
	reads := &usageReads{Store: w.Store.Store}
	w.Store.Store = reads
	for i := range endpoints {
		d := w.Deployment("plain", 1)
		if i < busy {
			d = w.serverless("serverless", 0)
		}
		if err := w.Create(t.Context(), fmt.Sprintf("e%03d", i), d); err != nil {
			t.Fatal(err)
		}
	}
	w.Asked = 1
	for range seconds {
		w.Step(t.Context(), time.Second)
	}
	sum, records := w.booked(t)
	if records != busy || sum.Invocations == 0 {
		t.Errorf("%d endpoints have records of %+v", records, sum)
	}
	if reads.lists != endpoints+1 { // and the one of this test
		t.Errorf("%d lists of all records", reads.lists)
	}
	if most := 2 * busy * seconds; reads.gets == 0 || reads.gets > most {
		t.Errorf("%d records were read, at most %d are to be", reads.gets, most)
	}
}
