package router

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stint-ml/stint/platform"
)

func TestRequestsUnderWayAreToldForEachInstance(t *testing.T) {
	t.Parallel()
	begun, finish := make(chan struct{}), make(chan struct{})
	slow := container(t, func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.ReadAll(q.Body)
		begun <- struct{}{}
		<-finish
		fmt.Fprint(w, "answer")
	})
	other := container(t, says("never asked"))
	r, c, m := metered(t,
		platform.RouteVariant{Name: "v", Weight: 1, Targets: []platform.Target{slow, slow}},
		platform.RouteVariant{Name: "idle", Weight: 0, Targets: []platform.Target{other}})
	done := make(chan struct{})
	for range 3 {
		go func() {
			a, err := r.Invoke(t.Context(), platform.Invocation{Endpoint: "e", Variant: "v"})
			if err == nil {
				_, _ = io.ReadAll(a.Body)
				a.Body.Close()
			}
			done <- struct{}{}
		}()
		<-begun
	}
	r.Start()
	c.ticks <- c.Now()
	<-m.puts
	close(finish)
	for range 3 {
		<-done
	}
	c.advance(10 * time.Second)
	r.Stop() // nothing is under way any more, so nothing is told
	expect(t, m, "v", "ConcurrentRequestsPerModel", "0: 1 1.5 1.5 1.5 None")
	expect(t, m, "idle", "ConcurrentRequestsPerModel")
}
