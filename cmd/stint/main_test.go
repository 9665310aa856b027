package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/api/autoscaling"
	"github.com/stint-ml/stint/api/logs"
	"github.com/stint-ml/stint/api/runtime"
	"github.com/stint-ml/stint/api/sagemaker"
	"github.com/stint-ml/stint/api/stint"
	"github.com/stint-ml/stint/cmd/stint/client"
	"github.com/stint-ml/stint/cmd/stint/server"
	"github.com/stint-ml/stint/control/endpoint"
	"github.com/stint-ml/stint/drivers/market/static"
	storage "github.com/stint-ml/stint/drivers/store/memory"
	telemetry "github.com/stint-ml/stint/drivers/telemetry/memory"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/platform/catalog"
)

func TestMain(m *testing.M) {
	time.Local = time.UTC // what people read is in their zone
	flag.Parse()
	os.Exit(m.Run())
}

// bundle is a command line with a server of its own: the real front door and services on memory stores.
type bundle struct {
	*app
	t          *testing.T
	door       *apitest.Door
	logs       *telemetry.Telemetry
	home       server.Home
	out, err   *lockedBuffer
	interrupts chan os.Signal
}

// lockedBuffer is written by commands while a test reads it.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *lockedBuffer) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.text.Reset()
	return b.text.String()
}

func newBundle(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{t: t, home: server.Home(t.TempDir()), out: &lockedBuffer{}, err: &lockedBuffer{}, interrupts: make(chan os.Signal, 2)}
	store := storage.New()
	market, err := static.New(catalog.BuiltIn("aws"), static.DefaultDiscount)
	if err != nil {
		t.Fatal(err)
	}
	b.door = apitest.Open(t, store, func(d *apitest.Door) []*api.Service {
		b.logs = telemetry.New(d.Clock)
		return []*api.Service{sagemaker.New(sagemaker.Config{Store: store, Catalog: catalog.BuiltIn("aws")}), logs.New(b.logs), autoscaling.New(store, d.Random), runtime.New(runtime.Config{Invoker: adder{}, Store: store, LogGroup: endpoint.LogGroup}), stint.New(stint.Config{Store: store, Catalog: catalog.BuiltIn("aws"), Market: market, Metrics: b.logs})}
	})
	b.app = &app{
		console: &console{out: b.out, err: b.err}, interrupts: b.interrupts, now: b.door.Clock.Now, program: "stint",
	}
	b.announce(b.door.URL)
	return b
}

// announce writes what a server writes into its data folder.
func (b *bundle) announce(endpoint string) {
	b.t.Helper()
	for name, value := range map[string]any{
		b.home.EndpointFile():                          server.Connection{Endpoint: endpoint, S3: endpoint, Site: apitest.Site},
		filepath.Join(string(b.home), "root-key.json"): b.door.Root,
	} {
		doc, err := json.Marshal(value)
		if err == nil {
			err = os.WriteFile(name, doc, 0o600)
		}
		if err != nil {
			b.t.Fatal(err)
		}
	}
}

// run runs a command line on the bundle's data folder.
func (b *bundle) run(args ...string) (code int, out, err string) {
	b.t.Helper()
	code = b.execute(b.t.Context(), append(args, "--home", string(b.home)))
	plain := strings.NewReplacer(" --home "+string(b.home), "", string(b.home), "HOME", b.door.URL, "http://SERVER")
	return code, plain.Replace(b.out.take()), plain.Replace(b.err.take())
}

func (b *bundle) client() *client.Client {
	return client.New(client.Config{Endpoint: b.door.URL, S3: b.door.URL, Site: apitest.Site, Credentials: apitest.Of(b.door.Root), Now: b.door.Clock.Now})
}

func (b *bundle) commit(tx platform.Tx) {
	b.t.Helper()
	if err := b.door.Store.Commit(context.Background(), tx); err != nil {
		b.t.Fatal(err)
	}
}

// request is what `stint run` would send.
func request(name string) string {
	return `{"TrainingJobName": "` + name + `", "RoleArn": "arn:aws:iam::123456789012:role/StintExecutionRole",
		"AlgorithmSpecification": {"TrainingImage": "stint/python:latest", "TrainingInputMode": "File"},
		"HyperParameters": {"epochs": "10", "sagemaker_program": "train.py"}, "Environment": {"MODE": "fast and\nloose"},
		"InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/data/"}}}],
		"OutputDataConfig": {"S3OutputPath": "s3://bucket/"}, "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
		"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30}}`
}

// create asks for a job by the API.
func (b *bundle) create(name string) {
	b.t.Helper()
	status, answer := b.door.JSON(b.t, apitest.Of(b.door.Root), "sagemaker", "SageMaker.CreateTrainingJob", request(name))
	if status != 200 {
		b.t.Fatalf("create %s: %d %s", name, status, answer)
	}
}

// change edits a job as the control plane would, with ledger entries beside it.
func (b *bundle) change(name string, edit func(*platform.TrainingStatus), ledger ...platform.LedgerEntry) {
	b.t.Helper()
	rec, err := b.door.Store.Get(context.Background(), platform.Key{Kind: platform.KindTrainingJob, Name: name})
	if err != nil {
		b.t.Fatal(err)
	}
	job, err := platform.ReadTrainingJob(rec)
	if err != nil {
		b.t.Fatal(err)
	}
	edit(&job.Status)
	if rec, err = job.Record(rec, b.door.Clock.Now()); err != nil {
		b.t.Fatal(err)
	}
	b.commit(platform.Tx{Puts: []platform.Put{{Record: rec}}, Ledger: ledger})
}

// enter moves a job to a phase, now.
func (b *bundle) enter(phase platform.JobPhase) func(*platform.TrainingStatus) {
	return func(st *platform.TrainingStatus) {
		if phase == platform.JobDownloading {
			st.Started = b.door.Clock.Now()
		}
		if err := st.Enter(phase, b.door.Clock.Now(), string(phase)+" as it should"); err != nil {
			b.t.Error(err)
		}
	}
}

// write appends to a job's log.
func (b *bundle) write(name string, attempt int64, lines ...string) {
	b.t.Helper()
	var events []platform.LogEvent
	for _, l := range lines {
		events = append(events, platform.LogEvent{Timestamp: b.door.Clock.Now(), Message: l})
	}
	stream := name + "/algo-1-" + time.Unix(1_700_000_000+attempt, 0).UTC().Format("20060102")
	err := b.logs.Append(context.Background(), platform.LogBatch{
		Group: "/aws/sagemaker/TrainingJobs", Stream: stream, Producer: stream, Seq: b.door.Clock.Now().UnixNano(), Events: events,
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// eventually polls a condition that another goroutine brings about.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// updating reports whether golden files are to be written anew, by apitest's flag.
func updating() bool { return flag.Lookup("update").Value.String() == "true" }

// golden compares with a text file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if updating() {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (rewrite it with -update):\n--- want\n%s\n--- got\n%s", file, want, got)
	}
}
