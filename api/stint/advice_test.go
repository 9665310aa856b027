package stint_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// fourHundred finds 400 MiB in use wherever it looks.
type fourHundred struct{}

func (fourHundred) MemoryInUse(platform.AgentID) (int64, bool) { return 400 << 20, true }

// seedEndpoints makes endpoints that the scenarios speak of, and what was asked of them. They are ten days old.
func seedEndpoints(t *testing.T, d *apitest.Door, metrics platform.Metrics) {
	t.Helper()
	now := d.Clock.Now()
	machine := platform.Variant{
		Name: "All", Type: "ml.m5.large", Desired: 2, Need: platform.Capacity{MilliCPU: 2000, MemoryBytes: 8 << 30},
		Rate: platform.HourlyRate{Nanos: 115_000_000, Currency: "USD"},
	}
	running := machine
	running.Replicas = []platform.Replica{{Number: 1, Agent: "a-1", Launched: now, Ready: now.Add(3 * time.Second)}}
	large := machine
	large.Name, large.Need.MemoryBytes = "Large", 16<<30
	cloud := platform.Variant{Name: "All", Type: "serverless.4GB", Rate: platform.HourlyRate{Nanos: 72_000_000, Currency: "USD"}, Serverless: &platform.Serverless{
		MemoryMiB: 4096, MaxConcurrency: 5, Provisioned: 1, Use: platform.HourlyRate{Nanos: 288_000_000, Currency: "USD"},
		ProvisionedUse: platform.HourlyRate{Nanos: 165_600_000, Currency: "USD"},
	}}
	for name, variants := range map[string][]platform.Variant{
		"quiet": {running}, "busy": {running}, "silent": {machine}, "drowsy": {machine}, "cloud": {cloud}, "both": {machine, large}, "queue": {machine}, "idle-queue": {machine}, "down": nil,
	} {
		seedEndpoint(t, d, name, variants)
	}
	var data []platform.Datum
	asked := func(endpoint, variant string, at time.Time, requests, latency float64) {
		dimensions := map[string]string{"EndpointName": endpoint, "VariantName": variant}
		data = append(data,
			platform.Datum{Series: platform.Series{Namespace: "AWS/SageMaker", Name: "Invocations", Dimensions: dimensions}, At: at, Value: requests, Count: requests, Minimum: 1, Maximum: 1},
			platform.Datum{Series: platform.Series{Namespace: "AWS/SageMaker", Name: "ModelLatency", Dimensions: dimensions}, At: at, Value: requests * latency, Count: requests, Minimum: latency, Maximum: latency * 2})
	}
	for hour := range 10 * 24 {
		at := now.Add(-time.Duration(hour+1) * time.Hour)
		if at.Hour() == 9 {
			asked("quiet", "All", at, 40, 50_000)
			asked("cloud", "All", at, 40, 50_000)
			asked("both", "Large", at, 40, 50_000)
			asked("drowsy", "All", at, 40, 50_000)
			asked("queue", "All", at, 40, 50_000)
			asked("idle-queue", "All", at, 40, 50_000)
		}
		for minute := range 60 {
			if hour >= 48 {
				break
			}
			asked("busy", "All", at.Add(time.Duration(minute)*time.Minute), 3000, 20_000)
		}
	}
	asked("busy", "All", now, 5, 20_000)
	if err := metrics.PutData(t.Context(), "", 0, data); err != nil {
		t.Fatal(err)
	}
}

func seedEndpoint(t *testing.T, d *apitest.Door, name string, variants []platform.Variant) {
	t.Helper()
	created := d.Clock.Now().AddDate(0, 0, -10)
	st := platform.EndpointStatus{
		Origin: platform.Origin{ARN: apitest.Site.ARN("sagemaker", "endpoint/"+name), Created: created}, State: platform.EndpointFailed,
	}
	if variants != nil {
		st.State, st.Serving = platform.EndpointInService, &platform.Deployment{Config: name, Began: created, Variants: variants}
	}
	if strings.HasSuffix(name, "queue") {
		st.Serving.Async = &sagemaker.AsyncInferenceConfig{}
	}
	e := &platform.Endpoint{Spec: sagemaker.CreateEndpointInput{EndpointName: &name}, Status: st}
	rec, err := e.Record(platform.Record{}, created)
	if err != nil {
		t.Fatal(err)
	}
	var puts []platform.Put
	if name == "idle-queue" {
		target := platform.ScalableTarget{Of: platform.VariantName{Endpoint: name, Variant: "All"}, Dimension: platform.DesiredInstanceCount}
		scaled, err := target.Record(platform.Record{}, created)
		if err != nil {
			t.Fatal(err)
		}
		puts = append(puts, platform.Put{Record: scaled})
	}
	if name == "drowsy" {
		rec.Tags = map[string]string{platform.TagSleep: "30m"}
	}
	config := platform.EndpointConfig{Spec: sagemaker.CreateEndpointConfigInput{
		EndpointConfigName: &name, ProductionVariants: []sagemaker.ProductionVariant{{VariantName: ptr("All"), ModelName: ptr("digits")}},
	}}
	doc, err := json.Marshal(config)
	if err == nil {
		err = d.Store.Commit(t.Context(), platform.Tx{Puts: append(puts,
			platform.Put{Record: rec}, platform.Put{Record: platform.Record{Key: platform.Key{Kind: platform.KindEndpointConfig, Name: name}, Doc: doc}},
		)})
	}
	if err != nil {
		t.Fatal(err)
	}
}
