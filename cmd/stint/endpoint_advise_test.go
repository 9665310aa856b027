package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/platform"
)

// asked counts requests of an endpoint of `stint deploy`, so long ago.
func (b *bundle) asked(name string, ago time.Duration, requests float64, latency time.Duration) {
	b.t.Helper()
	at := b.door.Clock.Now().Add(-ago)
	dimensions := map[string]string{"EndpointName": name, "VariantName": "AllTraffic"}
	micro := float64(latency.Microseconds())
	err := b.logs.PutData(b.t.Context(), "", 0, []platform.Datum{
		{Series: platform.Series{Namespace: "AWS/SageMaker", Name: "Invocations", Dimensions: dimensions}, At: at, Value: requests, Count: requests, Minimum: 1, Maximum: 1},
		{Series: platform.Series{Namespace: "AWS/SageMaker", Name: "ModelLatency", Dimensions: dimensions}, At: at, Value: requests * micro, Count: requests, Minimum: micro, Maximum: 3 * micro},
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

func TestEndpointAdvice(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.seedEndpoints()
	b.door.Clock.Advance(50 * time.Hour)
	for day := range 2 {
		b.asked("digits", time.Duration(day*24+3)*time.Hour, 400, 120*time.Millisecond)
	}
	b.play("advise.txt")
}

func TestAdviceIsDrawn(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.seedEndpoints()
	dir := t.TempDir()
	for file, begins := range map[string]string{"cost.svg": "<svg ", "cost.png": "\x89PNG"} {
		file = filepath.Join(dir, file)
		code, out, stderr := b.run("endpoint", "advise", "digits", "--requests-per-month", "100000", "--latency", "80ms", "--memory", "2GB", "--plot", file)
		drawn, err := os.ReadFile(file)
		if code != 0 || err != nil || !strings.HasPrefix(string(drawn), begins) || !strings.Contains(stderr, "is drawn in "+file) {
			t.Errorf("exit %d, %v, %s%s", code, err, out, stderr)
		}
	}
}
