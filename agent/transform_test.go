package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/agent/batch"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// containerMode makes the test binary a model's container: it answers in capitals, and suffers what the data says.
const containerMode = "STINT_TEST_CONTAINER"

func beContainer() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ping", func(w http.ResponseWriter, _ *http.Request) {
		if os.Getenv("SICK") != "" {
			http.Error(w, "ill", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET /execution-parameters", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, os.Getenv("PARAMETERS"))
	})
	mux.HandleFunc("POST /invocations", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Printf("asked %.20s as %s\n", body, r.Header.Get("Content-Type"))
		switch {
		case bytes.HasPrefix(body, []byte("die")), os.Getenv("DIES_OF") != "" && bytes.HasPrefix(body, []byte(os.Getenv("DIES_OF"))):
			os.Exit(3)
		case bytes.HasPrefix(body, []byte("refuse")):
			http.Error(w, "no", http.StatusUnprocessableEntity)
		case bytes.HasPrefix(body, []byte("swell")):
			for range 20 {
				_, _ = w.Write(bytes.Repeat([]byte("x"), 1<<20))
			}
		default:
			_, _ = w.Write(bytes.ToUpper(body))
		}
	})
	if os.Getenv("TELLS_NUMBER") != "" {
		fmt.Println("number", os.Getpid())
	}
	fmt.Println("batch", os.Getenv("SAGEMAKER_BATCH"), os.Getenv("SAGEMAKER_BATCH_STRATEGY"))
	panic(http.ListenAndServe("127.0.0.1:"+os.Getenv("SAGEMAKER_BIND_TO_PORT"), mux))
}

// transformBench is a transform job on a bench; its input is s3://data/in/ and its output s3://out/t.
func transformBench(t *testing.T, change func(*platform.TransformTask), objects map[string]string) *bench {
	t.Helper()
	b := newBench(t, "")
	task := platform.TransformTask{Shares: 1, ModelContainers: platform.ModelContainers{Container: sagemaker.ContainerDefinition{Image: new("test")}}, Request: sagemaker.CreateTransformJobRequest{
		TransformJobName: new("digits"), Environment: map[string]string{containerMode: "1", "PARAMETERS": "{}"},
		TransformInput: &sagemaker.TransformInput{SplitType: new(sagemaker.SplitTypeLine), ContentType: new("text/csv"), DataSource: &sagemaker.TransformDataSource{
			S3DataSource: &sagemaker.TransformS3DataSource{S3DataType: new(sagemaker.S3DataTypeS3Prefix), S3Uri: new("s3://data/in/")},
		}},
		TransformOutput: &sagemaker.TransformOutput{S3OutputPath: new("s3://out/t"), AssembleWith: new(sagemaker.AssemblyTypeLine)},
	}}
	if change != nil {
		change(&task)
	}
	spec, err := json.Marshal(task)
	if err != nil {
		t.Fatal(err)
	}
	b.assignment.Kind, b.assignment.Output, b.specDoc = platform.KindTransformJob, platform.URI(*task.Request.TransformOutput.S3OutputPath), spec
	b.assignment.Runtime = platform.Runtime{Name: "test", Serve: []string{os.Args[0]}}
	b.cfg.NewSender = func(ctx context.Context, p agent.Batches) agent.Sender { return batch.NewSender(ctx, p) }
	for name, content := range objects {
		b.put(t, platform.URI("s3://data/"+name), content)
	}
	return b
}

// made are the objects of a bucket.
func (b *bench) made(t *testing.T, prefix platform.URI) map[string]string {
	t.Helper()
	found := map[string]string{}
	for blob, err := range b.blobs.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		found[strings.TrimPrefix(string(blob.URI), string(prefix))] = string(b.get(t, blob.URI))
	}
	return found
}

func (b *bench) wantMade(t *testing.T, prefix platform.URI, want map[string]string) {
	t.Helper()
	if got := b.made(t, prefix); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("made %.500v, want %.500v", got, want)
	}
}

// progress is the last that was told.
func (b *bench) progress() (p platform.TransformProgress) {
	for _, r := range b.reports {
		if r.Progress != nil {
			p = *r.Progress
		}
	}
	return p
}

// asked are the payloads that the container was sent.
func (b *bench) asked() (payloads []string) {
	for _, line := range b.log() {
		if rest, ok := strings.CutPrefix(line, "asked "); ok {
			payloads = append(payloads, strings.TrimSuffix(rest, " as text/csv"))
		}
	}
	return sorted(payloads)
}

func TestTransformMakesAnOutputOfEachObject(t *testing.T) {
	t.Parallel()
	b := transformBench(t, nil, map[string]string{"in/a": "x\ny\n", "in/sub/b": "z", "in/c": "", "in/folder/": "", "elsewhere": "no"})
	wantKind(t, b.run(t), platform.Succeeded)
	b.wantMade(t, "s3://out/", map[string]string{"t/a.out": "X\nY\n", "t/sub/b.out": "Z\n", "t/c.out": ""})
	if p := b.progress(); p.Objects != 3 || p.Failed != 0 || p.Through != "s3://data/in/sub/b" || len(p.Beyond) != 0 {
		t.Errorf("progress is %+v", p)
	}
	if !slices.Equal(b.phases(), []platform.Phase{platform.PhaseDownloading, platform.PhaseTransforming}) || !slices.Contains(b.log(), "batch true ") {
		t.Errorf("phases %v, log %q", b.phases(), b.log())
	}
}

func TestTheContainersPreferencesCount(t *testing.T) {
	t.Parallel()
	prefer := func(task *platform.TransformTask) {
		task.Request.Environment["PARAMETERS"] = `{"MaxConcurrentTransforms": 3, "BatchStrategy": "SINGLE_RECORD", "MaxPayloadInMB": 2}`
	}
	b := transformBench(t, prefer, map[string]string{"in/a": "x\ny\n"})
	wantKind(t, b.run(t), platform.Succeeded)
	if !slices.Equal(b.asked(), []string{"x", "y"}) || !strings.Contains(strings.Join(b.log(), "\n"), "MaxConcurrentTransforms=3, MaxPayloadInMB=2, BatchStrategy=SINGLE_RECORD") {
		t.Errorf("log %q", b.log())
	}
	b = transformBench(t, func(task *platform.TransformTask) {
		prefer(task)
		task.Request.BatchStrategy = new(sagemaker.BatchStrategyMultiRecord)
	}, map[string]string{"in/a": "x\ny\n"})
	wantKind(t, b.run(t), platform.Succeeded)
	if got := strings.Join(b.asked(), "|"); !strings.HasPrefix(got, "x") || strings.Contains(got, "|") || !slices.Contains(b.log(), "batch true MULTI_RECORD") {
		t.Errorf("the request does not come before the container's preference: %q", b.log())
	}
}

// Another attempt does what is left, and no more.
func TestWhatIsDoneWithIsLeftAlone(t *testing.T) {
	t.Parallel()
	b := transformBench(t, func(task *platform.TransformTask) {
		task.Progress = platform.TransformProgress{
			Through: "s3://data/in/b", Beyond: []platform.URI{"s3://data/in/d"}, Objects: 3, Failed: 1, Reason: "ClientError: s3://data/in/a: no",
		}
	}, map[string]string{"in/a": "a", "in/b": "b", "in/c": "c", "in/d": "d", "in/e": "e"})
	wantKind(t, b.run(t), platform.ClientError, "s3://data/in/a: no")
	b.wantMade(t, "s3://out/", map[string]string{"t/c.out": "C\n", "t/e.out": "E\n"})
	if p := b.progress(); p.Objects != 5 || p.Failed != 1 || p.Through != "s3://data/in/e" {
		t.Errorf("progress is %+v", p)
	}
}

func TestObjectsThatFailLeaveTheOthersAlone(t *testing.T) {
	t.Parallel()
	b := transformBench(t, nil, map[string]string{"in/a": "x", "in/b": "refuse", "in/c": "refuse", "in/d": "y"})
	wantKind(t, b.run(t), platform.ClientError, "the model answered 422", "2 of 4 objects failed")
	b.wantMade(t, "s3://out/", map[string]string{"t/a.out": "X\n", "t/d.out": "Y\n"})
}

func TestAContainerThatDiesEndsTheJob(t *testing.T) {
	t.Parallel()
	b := transformBench(t, nil, map[string]string{"in/a": "die"})
	wantKind(t, b.run(t), platform.AlgorithmError, "exit code: 3")
	b.wantMade(t, "s3://out/", map[string]string{})
}

// Large outputs go to the store while they are made, and yet appear whole or not at all.
func TestLargeOutputsAppearWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	b := transformBench(t, func(task *platform.TransformTask) {
		task.Request.BatchStrategy = new(sagemaker.BatchStrategySingleRecord)
	}, map[string]string{"in/a": "swell\nx\n", "in/b": "swell\nrefuse\n"})
	wantKind(t, b.run(t), platform.ClientError, "in/b")
	made := b.made(t, "s3://out/t/")
	if len(made) != 1 || len(made["a.out"]) != 20<<20+3 {
		t.Errorf("%d outputs, the first has %d bytes", len(made), len(made["a.out"]))
	}
}

// What the job makes below its own input is no input, even when it is listed while it runs.
func TestOutputsAreNotTransformed(t *testing.T) {
	t.Parallel()
	b := transformBench(t, func(task *platform.TransformTask) {
		task.Request.TransformInput.DataSource.S3DataSource.S3Uri = new("s3://data/in")
		task.Request.TransformOutput.S3OutputPath = new("s3://data/in")
	}, map[string]string{"in/a": "x", "in/a.out": "made before", "in/mine.out": "y"})
	wantKind(t, b.run(t), platform.Succeeded)
	b.wantMade(t, "s3://data/", map[string]string{"in/a": "x", "in/a.out": "X\n", "in/mine.out": "y", "in/mine.out.out": "Y\n"})
}

func TestSharesAreDisjointAndMakeTheWhole(t *testing.T) {
	t.Parallel()
	objects, want := map[string]string{}, map[string]string{}
	for n := range 30 {
		objects[fmt.Sprintf("in/%d", n)], want[fmt.Sprintf("t/%d.out", n)] = "x", "X\n"
	}
	var all *bench
	sum := int64(0)
	for share := range 3 {
		b := transformBench(t, func(task *platform.TransformTask) { task.Share, task.Shares = share, 3 }, objects)
		if all == nil {
			all = b
		}
		b.blobs = all.blobs
		wantKind(t, b.run(t), platform.Succeeded)
		if n := b.progress().Objects; n == 0 || n == 30 {
			t.Errorf("share %d has %d objects", share, n)
		}
		sum += b.progress().Objects
	}
	all.wantMade(t, "s3://out/", want)
	if sum != 30 {
		t.Errorf("the shares have %d objects", sum)
	}
}

// A store that goes away in the middle of listing, reading and storing is waited for, and nothing is sent twice.
func TestAStoreThatGoesAwayIsWaitedFor(t *testing.T) {
	t.Parallel()
	b := transformBench(t, nil, map[string]string{"in/a": "x", "in/b": "y", "in/c": "z"})
	var calls atomic.Int64
	b.blobs.Fault = func(method string, _ platform.URI) error {
		if calls.Add(1)%2 == 0 && method != "Upload" || method == "Upload" && calls.Load()%3 == 0 {
			return platform.Errorf(platform.Unavailable, "", "away")
		}
		return nil
	}
	wantKind(t, b.run(t), platform.Succeeded)
	b.blobs.Fault = nil
	b.wantMade(t, "s3://out/", map[string]string{"t/a.out": "X\n", "t/b.out": "Y\n", "t/c.out": "Z\n"})
	if asked := b.asked(); len(asked) != 3 {
		t.Errorf("the container was asked %q", asked)
	}
}
