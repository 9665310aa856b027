package api_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/drivers/store/memory"
	"github.com/stint-ml/stint/wire/sigv4"
)

// BenchmarkDescribeTrainingJob measures all that the front door adds to a handler that answers at once: over loopback with
// a client in the same process that signs every call, and without a network.
func BenchmarkDescribeTrainingJob(b *testing.B) {
	request := func(b *testing.B, d *apitest.Door, c sigv4.Credentials, address string) *http.Request {
		r, err := http.NewRequest(http.MethodPost, address, strings.NewReader(describeBody("digits-2026-03-01-12-00-00")))
		if err != nil {
			b.Fatal(err)
		}
		r.Header.Set("X-Amz-Target", describeTarget)
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
		if err := sigv4.Sign(r, c, apitest.Site.Region, "sagemaker", d.Clock.Now()); err != nil {
			b.Fatal(err)
		}
		return r
	}
	b.Run("loopback", func(b *testing.B) {
		d := open(b)
		_, k := member(b, d, "alice", allow("sagemaker:*"))
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: time.Minute}
		b.SetParallelism(16 / runtime.GOMAXPROCS(0))
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				response, err := client.Do(request(b, d, apitest.Of(k), d.URL+"/"))
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
				if response.StatusCode != http.StatusOK {
					b.Errorf("status %d", response.StatusCode)
					return
				}
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
	})
	b.Run("handler", func(b *testing.B) {
		d := apitest.Prepare(b, memory.New())
		handler := handlerOf(b, d, training())
		_, k := member(b, d, "alice", allow("sagemaker:*"))
		r := request(b, d, apitest.Of(k), "http://localhost/")
		r.RemoteAddr = "127.0.0.1:9"
		body := describeBody("digits-2026-03-01-12-00-00")
		b.ReportAllocs()
		for b.Loop() {
			r.Body = io.NopCloser(strings.NewReader(body))
			answer := httptest.NewRecorder()
			handler.ServeHTTP(answer, r)
			if answer.Code != http.StatusOK {
				b.Fatal(answer.Body)
			}
		}
	})
}
