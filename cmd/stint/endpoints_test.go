package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/control/endpoint"
	"github.com/stint-ml/stint/decide/bill"
	"github.com/stint-ml/stint/drivers/blobs/memory"
	"github.com/stint-ml/stint/platform"
)

// adder is the data plane of these tests: it echoes what it is asked, and fails when asked "fail".
type adder struct{}

func (adder) Invoke(_ context.Context, in platform.Invocation) (*platform.Answer, error) {
	if in.Endpoint != "digits" {
		return nil, platform.Errorf(platform.NotFound, in.Endpoint, "no route")
	}
	a := &platform.Answer{Variant: "AllTraffic", Status: 200, Header: http.Header{"Content-Type": in.Header["Content-Type"]}}
	if in.Variant != "" {
		a.Variant = in.Variant
	}
	if string(in.Body) == "fail" {
		a.Status, in.Body = 500, []byte("as told")
	}
	a.Body = io.NopCloser(bytes.NewReader(append([]byte("you said "), in.Body...)))
	return a, nil
}

// serve makes an endpoint as `stint deploy` does.
func (b *bundle) serve(name string) {
	b.t.Helper()
	for _, c := range [][2]string{
		{"CreateModel", `{"ModelName": "%[1]s", "ExecutionRoleArn": "arn:aws:iam::123456789012:role/StintExecutionRole",
			"PrimaryContainer": {"Image": "stint/python:latest", "ModelDataUrl": "s3://bucket/%[1]s/model.tar.gz"}}`},
		{"CreateEndpointConfig", `{"EndpointConfigName": "%[1]s", "ProductionVariants": [
			{"VariantName": "AllTraffic", "ModelName": "%[1]s", "InstanceType": "ml.m5.large", "InitialInstanceCount": 2}]}`},
		{"CreateEndpoint", `{"EndpointName": "%[1]s", "EndpointConfigName": "%[1]s"}`},
	} {
		status, answer := b.door.JSON(b.t, apitest.Of(b.door.Root), "sagemaker", "SageMaker."+c[0], fmt.Sprintf(c[1], name))
		if status != 200 {
			b.t.Fatalf("%s %s: %d %s", c[0], name, status, answer)
		}
	}
}

// becomes edits an endpoint as the control plane would, with ledger entries beside it.
func (b *bundle) becomes(name string, state platform.EndpointState, edit func(*platform.EndpointStatus), ledger ...platform.LedgerEntry) {
	b.t.Helper()
	rec, err := b.door.Store.Get(context.Background(), platform.Key{Kind: platform.KindEndpoint, Name: name})
	if err != nil {
		b.t.Fatal(err)
	}
	e, err := platform.ReadEndpoint(rec)
	if err != nil {
		b.t.Fatal(err)
	}
	edit(&e.Status)
	if err := e.Status.Enter(state, b.door.Clock.Now()); err != nil {
		b.t.Fatal(err)
	}
	if rec, err = e.Record(rec, b.door.Clock.Now()); err != nil {
		b.t.Fatal(err)
	}
	b.commit(platform.Tx{Puts: []platform.Put{{Record: rec}}, Ledger: ledger})
}

// instance opens a ledger line of an endpoint.
func (b *bundle) instance(name string, number int) platform.LedgerEntry {
	l := b.line(name, number, platform.OnDemand, usd(115_000_000))
	l.Line, l.Resource = fmt.Sprintf("%s@%d", name, number), apitest.Site.ARN("sagemaker", "endpoint/"+name)
	return l
}

// scaledTo is the record of what is scaled of "digits", with a change behind it.
func (b *bundle) scaledTo(n int) platform.Record {
	b.t.Helper()
	now := b.door.Clock.Now()
	target := &platform.ScalableTarget{
		Of: platform.VariantName{Endpoint: "digits", Variant: "AllTraffic"}, Dimension: platform.DesiredInstanceCount, Min: 1, Max: 4, Origin: platform.Origin{Created: now},
	}
	target.Note(platform.ScalingActivity{
		Description: fmt.Sprintf("Setting desired instance count to %d.", n), Cause: "minimum capacity was set to 2", Began: now, Ended: now, Status: "Successful",
	})
	rec, err := target.Record(platform.Record{}, now)
	if err != nil {
		b.t.Fatal(err)
	}
	return rec
}

// seedEndpoints makes an endpoint of every fate.
func (b *bundle) seedEndpoints() {
	b.serve("digits")
	one, two := b.instance("digits", 1), b.instance("digits", 2)
	b.becomes("digits", platform.EndpointInService, func(st *platform.EndpointStatus) {
		st.Serving, st.Coming, st.FailureReason = st.Coming, nil, "the next model did not load"
		for n := range 2 {
			st.Serving.Variants[0].Replicas = append(st.Serving.Variants[0].Replicas, platform.Replica{Number: n + 1, Ready: b.door.Clock.Now()})
		}
	}, one, two)
	b.commit(platform.Tx{Puts: []platform.Put{{Record: b.scaledTo(2)}}})
	b.door.Clock.Advance(time.Hour)
	b.serve("torn")
	was := b.instance("torn", 1)
	b.becomes("torn", platform.EndpointFailed, func(st *platform.EndpointStatus) {
		st.Coming, st.FailureReason = nil, "RuntimeError: the weights are torn\n  in model_fn"
	}, was, bill.Close(was, b.door.Clock.Now().Add(4*time.Second)))
	b.logged("torn", "AllTraffic/i-2", "loading", "RuntimeError: the weights are torn")
	b.logged("digits", "AllTraffic/i-1", "one", "two")
	b.door.Clock.Advance(time.Minute)
	b.serve("coming")
	b.becomes("coming", platform.EndpointCreating, func(st *platform.EndpointStatus) {
		st.Coming.Variants[0].Roomless = platform.WaitingForRoom + "an instance of ml.m5.large needs 8 GiB of memory, and 7.5 of the machine's 23.5 GiB are free"
	})
	b.door.Clock.Advance(3 * time.Second)
}

// logged appends to an endpoint's log.
func (b *bundle) logged(name, stream string, lines ...string) {
	b.t.Helper()
	var events []platform.LogEvent
	for _, l := range lines {
		events = append(events, platform.LogEvent{Timestamp: b.door.Clock.Now(), Message: l})
	}
	err := b.logs.Append(context.Background(), platform.LogBatch{Group: endpoint.LogGroup(name), Stream: stream, Producer: stream, Seq: 1, Events: events})
	if err != nil {
		b.t.Fatal(err)
	}
}

func TestEndpointCommands(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.seedEndpoints()
	b.play("endpoints.txt")
}

func TestInvokeReadsFilesAndPipes(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.seedEndpoints()
	dir := folder(t, "rows.csv", "1,2\n")
	if code, out, stderr := b.run("invoke", "digits", filepath.Join(dir, "rows.csv"), "--json"); code != 0 || !strings.Contains(out, `"ContentType": "text/csv"`) || !strings.Contains(out, `"Body": "you said 1,2\n"`) {
		t.Errorf("exit %d, %s%s", code, out, stderr)
	}
	if code, out, _ := b.run("invoke", "digits", filepath.Join(dir, "none.csv")); code != 2 || out != "" {
		t.Errorf("exit %d, %s", code, out)
	}
	for _, given := range []string{"[[1]]", ""} {
		in, err := invokeFlags{}.request([]string{"digits", "-"}, strings.NewReader(given))
		if err != nil || string(in.Body) != given || in.ContentType != "application/json" {
			t.Errorf("%+v: %v", in, err)
		}
	}
	if _, err := (invokeFlags{}).request([]string{"digits"}, io.LimitReader(zeros{}, mostAsked+1)); err == nil {
		t.Error("more than an endpoint takes was read")
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestDeleteWaitsUntilNothingIsLeft plays the control plane, which takes the record away at last.
func TestDeleteWaitsUntilNothingIsLeft(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.seedEndpoints()
	done := make(chan string)
	go func() {
		_, out, stderr := b.run("endpoint", "delete", "digits")
		done <- out + stderr
	}()
	key := platform.Key{Kind: platform.KindEndpoint, Name: "digits"}
	eventually(t, "the wish to delete", func() bool {
		rec, err := b.door.Store.Get(t.Context(), key)
		return err == nil && rec.State == string(platform.EndpointDeleting)
	})
	rec, err := b.door.Store.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	b.commit(platform.Tx{Deletes: []platform.Delete{{Key: key, Revision: rec.Revision}}})
	if out := <-done; out != "digits  deleted\n" {
		t.Errorf("%q", out)
	}
	for _, kind := range []platform.Kind{platform.KindEndpointConfig, platform.KindModel} {
		if _, err := b.door.Store.Get(t.Context(), platform.Key{Kind: kind, Name: "digits"}); !platform.Is(err, platform.NotFound) {
			t.Errorf("the %s is still there: %v", kind, err)
		}
	}
}

// archived makes a .tar.gz.
func archived(t *testing.T, files ...[2]string) []byte {
	t.Helper()
	var packed bytes.Buffer
	zipped := gzip.NewWriter(&packed)
	out := tar.NewWriter(zipped)
	for _, f := range files {
		if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f[0], Mode: 0o644, Size: int64(len(f[1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(out, f[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

// TestTheScriptTakesThePlaceOfTheArchivesCode repacks an archive from S3.
func TestTheScriptTakesThePlaceOfTheArchivesCode(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	model := archived(t, [2]string{"./model.bin", "weights"}, [2]string{"code/old.py", "old"}, [2]string{"./code/lib/older.py", "old"})
	blobs := memory.New("bucket")
	if err := blobs.Upload(t.Context(), "s3://bucket/m/model.tar.gz", bytes.NewReader(model)); err != nil {
		t.Fatal(err)
	}
	dir := folder(t, "inference.py", "new", "lib/tool.py", "tool", "packages.txt", "six")
	d, err := b.planDeployment("s3://bucket/m/model.tar.gz", deployFlags{
		script: "inference.py", sourceDir: dir, requirements: filepath.Join(dir, "packages.txt"), runtime: "exec", count: 1, name: "m",
	})
	if err != nil {
		t.Fatal(err)
	}
	name, err := d.repack(t.Context(), blobs)
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(name) //nolint:errcheck // a leftover in the temporary folder harms nobody
	packed, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	want := "  ./model.bin 644 weights\n  code/inference.py 644 new\n  code/lib/tool.py 644 tool\n  code/packages.txt 644 six\n  code/requirements.txt 644 six\n"
	if got := untar(t, packed); got != want {
		t.Errorf("the archive holds\n%s", got)
	}
	if d.env["SAGEMAKER_PROGRAM"] != "inference.py" || d.image != "stint/exec:latest" {
		t.Errorf("%+v", d)
	}
}

func TestDeployRefusals(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.serve("taken")
	dir := folder(t, "model.tar.gz", "this is no archive", "inference.py", "")
	model, script := filepath.Join(dir, "model.tar.gz"), filepath.Join(dir, "inference.py")
	for line, want := range map[string]string{
		"none.tar.gz":                                 "the model none.tar.gz does not exist",
		dir:                                           "is not a file; pack it first: tar czf model.tar.gz",
		"s3://bucket":                                 "s3://bucket does not name an object",
		"s3://bucket/prefix/":                         "does not name an object",
		model + " --script none.py":                   "the script none.py does not exist",
		model + " --source-dir " + dir:                "go along with a --script",
		model + " --count 0":                          "--count 0 is too few",
		model + " --env A":                            "should look like NAME=VALUE",
		model + " --name a_b":                         "is not a job name",
		model + " --runtime none":                     `--runtime "none" is not known`,
		model + " --runtime exec x":                   "takes one argument",
		model + " --runtime sklearn":                  "the runtime sklearn is not installed",
		model + " --runtime exec --instance m5.large": "did you mean ml.m5.large",
		model + " --runtime exec --name taken":        "choose another --name, or take that one away first: stint endpoint delete taken",
		model + " --runtime exec --script " + script:  "it is not a .tar.gz",
	} {
		code, _, stderr := b.run(append([]string{"deploy"}, strings.Fields(line)...)...)
		if code == 0 || !strings.Contains(stderr, want) {
			t.Errorf("stint deploy %s: exit %d, %s", line, code, stderr)
		}
	}
}

func TestCompleteEndpoints(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.seed()
	b.seedEndpoints()
	complete := func(words ...string) string {
		b.execute(t.Context(), append([]string{"__complete", "--home", string(b.home)}, words...))
		return b.out.take()
	}
	for _, words := range [][]string{{"invoke", "d"}, {"endpoint", "describe", "d"}, {"endpoint", "logs", "d"}, {"endpoint", "delete", "d"}} {
		if out := complete(words...); !strings.HasPrefix(out, "digits\tInService\n:") {
			t.Errorf("%v: %q", words, out)
		}
	}
	if out := complete("cost", "d"); !strings.HasPrefix(out, "digits-bad\tFailed\ndigits-spot\tCompleted\ndigits\tInService\n") {
		t.Errorf("%q", out)
	}
}
