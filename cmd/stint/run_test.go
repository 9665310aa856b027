package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/cmd/stint/client"
	"github.com/stint-ml/stint/drivers/blobs/memory"
	"github.com/stint-ml/stint/platform"
)

// folder writes files for a test: a name and its content by turns.
func folder(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		name := filepath.Join(dir, files[i])
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(files[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestRunRefusals: whatever is wrong with the command line is said before anything is sent.
func TestRunRefusals(t *testing.T) {
	t.Parallel()
	dir := folder(t, "train.py", "", "src/main.py", "", "data/x", "1", "empty/.keep", "")
	if err := os.Remove(filepath.Join(dir, "empty", ".keep")); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(dir, "train.py")
	for _, tt := range []struct{ args, want string }{
		{"", "run needs a script; see: stint run --help"},
		{"DIR/none.py", "the script DIR/none.py does not exist"},
		{"DIR/src", "the script DIR/src is not a file; for a whole folder name its script, and the folder with --source-dir"},
		{"none.py --source-dir DIR/src", "the script none.py is not in the source folder DIR/src"},
		{"DIR/train.py --source-dir DIR/src", "the script DIR/train.py is not in the source folder DIR/src"},
		{"main.py --source-dir DIR/none", "--source-dir DIR/none is not a folder"},
		{"DIR/train.py --requirements DIR/none.txt", "--requirements DIR/none.txt is not a file"},
		{"DIR/train.py --data DIR/none", "--data DIR/none: there is no such file or folder"},
		{"DIR/train.py --data s3:///x", `--data "s3:///x" is not an S3 URI; it should look like s3://bucket/prefix`},
		{"DIR/train.py --data DIR/data --data DIR/src", `--data has two sources for the channel "train"; name them as in --data train=DIR --data test=DIR`},
		{"DIR/train.py --hp epochs", `--hp "epochs" should look like NAME=VALUE`},
		{"DIR/train.py --hp a=1 --hp a=2", "--hp a is given twice"},
		{"DIR/train.py --env =1", `--env "=1" should look like NAME=VALUE`},
		{"DIR/train.py --name -x-", `--name "-x-" is not a job name; it may have letters, digits and hyphens, 63 at most, and no hyphen at its ends`},
		{"DIR/train.py --max-run 5ms", "--max-run 5ms is too short; a job needs a second at least"},
		{"DIR/train.py --output DIR/data", "--output DIR/data is not empty; name a new folder for the model"},
		{"DIR/train.py --output DIR/train.py", "--output DIR/train.py is not a folder that can be used: open DIR/train.py: not a directory"},
		{"DIR/train.py --output DIR/out --no-wait", "--output needs the job's end, which --no-wait does not wait for; choose one"},
		{"DIR/train.py --runtime cobol", `--runtime "cobol" is not known; there are sklearn, xgboost, pytorch, python, onnx, exec`},
		{"DIR/train.py --image a:1 --runtime exec", "--image and --runtime both say what to run in; choose one"},
		{"DIR/train.py --instance m5.large --runtime exec", "--instance m5.large: did you mean ml.m5.large?"},
		{"DIR/train.py --instance ml.none.large --runtime exec", "--instance: instance type ml.none.large is not in the catalogue; add it to catalog.csv in the data folder with its vCPUs, memory and price"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			t.Parallel()
			b := newBundle(t)
			code, out, stderr := b.run(append([]string{"run"}, strings.Fields(strings.ReplaceAll(tt.args, "DIR", dir))...)...)
			if got := strings.ReplaceAll(stderr, dir, "DIR"); code != 2 || out != "" || got != "stint: "+tt.want+"\n" {
				t.Errorf("exit %d, out %q, err %q", code, out, got)
			}
		})
	}
	t.Run("not installed", func(t *testing.T) {
		t.Parallel()
		b := newBundle(t)
		code, _, stderr := b.run("run", script)
		if want := "stint: the runtime python is not installed; install it with: stint runtime install python\n"; code != 1 || stderr != want {
			t.Errorf("exit %d, err %q", code, stderr)
		}
		code, _, stderr = b.run("run", script, "--image", "nobody/knows:1")
		if code != 1 || !strings.HasPrefix(stderr, "stint: no runtime is known for image nobody/knows:1") {
			t.Errorf("exit %d, err %q", code, stderr)
		}
	})
}

// TestSubmittedRun is what a run uploads and asks for, as a text file.
func TestSubmittedRun(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	dir := folder(t, "src/code/train.py", "train", "src/lib/a.py", "a", "src/requirements.txt", "old", "src/.git/config", "no", "src/lib/__pycache__/a.pyc", "no",
		"wanted.txt", "numpy", "data/one.csv", "1", "data/sub/two.csv", "22")
	if err := os.Symlink(filepath.Join(dir, "data"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "wanted.txt"), filepath.Join(dir, "src", "linked.txt")); err != nil {
		t.Fatal(err)
	}
	run, err := b.planRun("code/train.py", runFlags{
		sourceDir: filepath.Join(dir, "src"), requirements: filepath.Join(dir, "wanted.txt"), runtime: "exec", instance: "ml.c5.xlarge", maxRun: time.Hour,
		data:            []string{filepath.Join(dir, "link"), "test=" + filepath.Join(dir, "data", "one.csv"), "other=s3://bucket/some"},
		hyperparameters: []string{"epochs=10", "note=a=b"}, environment: []string{"MODE=fast"},
	})
	if err != nil {
		t.Fatal(err)
	}
	blobs := memory.New("bucket")
	if err := blobs.Upload(t.Context(), "s3://bucket/some/thing", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	if err := b.upload(t.Context(), blobs, platform.URI("s3://bucket").Join(run.name), run); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	doc, err := json.MarshalIndent(run.request, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&got, "%s\n", doc)
	for info, err := range blobs.List(t.Context(), "s3://bucket/") {
		if err != nil {
			t.Fatal(err)
		}
		content, err := blobs.Open(t.Context(), info.URI, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(string(info.URI), "sourcedir.tar.gz") {
			fmt.Fprintf(&got, "\n%s\n%s", info.URI, untar(t, content))
		} else {
			text, err := io.ReadAll(content)
			fmt.Fprintf(&got, "\n%s\n%s %v\n", info.URI, text, err)
		}
	}
	golden(t, "submitted.txt", got.String())
}

// untar lists an archive with the contents.
func untar(t *testing.T, in io.Reader) string {
	t.Helper()
	unzipped, err := gzip.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	archive := tar.NewReader(unzipped)
	for {
		member, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, fmt.Sprintf("  %s %o %s\n", member.Name, member.Mode, content))
	}
	slices.Sort(files)
	return strings.Join(files, "")
}

func TestUploadRefusals(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	dir := folder(t, "train.py", "", "full/x", "1")
	for _, name := range []string{"empty", "odd"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(dir, filepath.Join(dir, "odd", "folder")); err != nil {
		t.Fatal(err)
	}
	for data, want := range map[string]string{
		filepath.Join(dir, "empty"): "--data DIR/empty holds no files",
		filepath.Join(dir, "odd"):   "DIR/odd/folder is not a regular file, so it cannot be uploaded; take it out of the folder or copy what it stands for",
		"s3://bucket/nothing":       "there is no object under s3://bucket/nothing; see: aws s3 ls s3://bucket/nothing",
		"s3://nowhere/nothing":      "does not exist",
	} {
		run, err := b.planRun(filepath.Join(dir, "train.py"), runFlags{runtime: "exec", instance: "ml.m5.large", maxRun: time.Hour, data: []string{data}})
		if err != nil {
			t.Fatal(err)
		}
		blobs := memory.New("bucket")
		err = b.upload(t.Context(), blobs, "s3://bucket/job", run)
		if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), dir, "DIR"), want) {
			t.Errorf("%s: %v", data, err)
		}
		for sent, err := range blobs.List(t.Context(), "s3://bucket/") {
			t.Errorf("%s: %s was sent, %v", data, sent.URI, err)
		}
	}
}

func TestJobNames(t *testing.T) {
	t.Parallel()
	a := &app{now: func() time.Time { return time.Date(2026, 5, 1, 9, 8, 7, 65_000_000, time.UTC) }}
	for script, want := range map[string]string{
		"train.py":                      "train-2026-05-01-09-08-07-065",
		"src/my_model.v2.py":            "my-model-v2-2026-05-01-09-08-07-065",
		"__.py":                         "run-2026-05-01-09-08-07-065",
		strings.Repeat("x", 99) + ".sh": strings.Repeat("x", 39) + "-2026-05-01-09-08-07-065",
	} {
		got, err := a.jobName("", script)
		if err != nil || got != want || !jobNameForm.MatchString(got) {
			t.Errorf("%s: %q, %v", script, got, err)
		}
	}
}

// follow starts to follow a job and gives its result.
func (b *bundle) follow(name, endpoint string, blobs platform.Blobs, output string) chan error {
	c := client.New(client.Config{Endpoint: endpoint, Site: apitest.Site, Credentials: apitest.Of(b.door.Root), Now: b.door.Clock.Now})
	f := &follower{app: b.app, client: c, blobs: blobs, name: name, log: newJobLog(c, name), output: output}
	done := make(chan error, 1)
	go func() { done <- f.follow(b.t.Context()) }()
	return done
}

func (b *bundle) says(what string) {
	b.t.Helper()
	eventually(b.t, fmt.Sprintf("%q on stderr", what), func() bool { return strings.Contains(b.err.String(), what) })
}

func TestFollowToTheModel(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.create("good")
	blobs := memory.New("bucket")
	var archive bytes.Buffer
	zipped := gzip.NewWriter(&archive)
	members := tar.NewWriter(zipped)
	for _, h := range []tar.Header{
		{Name: "sub/", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "sub/model.bin", Typeflag: tar.TypeReg, Mode: 0o644, Size: 2},
		{Name: "../outside", Typeflag: tar.TypeReg, Mode: 0o644, Size: 2}, {Name: "link", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
	} {
		if err := members.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := members.Write([]byte("ok")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(members.Close(), zipped.Close(), blobs.Upload(t.Context(), "s3://bucket/good/output/model.tar.gz", &archive)); err != nil {
		t.Fatal(err)
	}
	output := filepath.Join(t.TempDir(), "new", "model")
	done := b.follow("good", b.door.URL, blobs, output)
	b.change("good", b.enter(platform.JobDownloading), b.line("good", 1, platform.OnDemand, usd(115_000_000)))
	b.door.Clock.Advance(2 * time.Second)
	b.change("good", b.enter(platform.JobTraining))
	b.write("good", 0, "epoch 1", "epoch 2")
	b.change("good", b.enter(platform.JobUploading))
	b.change("good", func(st *platform.TrainingStatus) {
		b.enter(platform.JobPhaseCompleted)(st)
		st.Model, st.Billable = "s3://bucket/good/output/model.tar.gz", 2
		st.Attempts = []platform.Attempt{{Number: 1, Seconds: 2, Ended: st.Ended}}
		st.Metrics = []platform.MetricValue{{Name: "loss", Value: 0.125, At: b.door.Clock.Now()}}
	})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if out := b.out.take(); out != "epoch 1\nepoch 2\n" {
		t.Errorf("%q", out)
	}
	golden(t, "followed.txt", strings.ReplaceAll(b.err.take(), output, "OUTPUT"))
	for name, want := range map[string]bool{"sub/model.bin": true, "outside": true, "link": false, "../outside": false} {
		if _, err := os.Lstat(filepath.Join(output, name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFollowToFailure(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.create("bad")
	done := b.follow("bad", b.door.URL, nil, "")
	b.change("bad", func(st *platform.TrainingStatus) {
		b.enter(platform.JobPhaseFailed)(st)
		st.FailureReason = "AlgorithmError: it broke\nbadly"
	})
	if code := b.report(<-done); code != 1 {
		t.Errorf("exit %d", code)
	}
	if text := b.err.take(); !strings.HasSuffix(text, "✗ Failed\n  reason   AlgorithmError: it broke\n           badly\n") {
		t.Errorf("%q", text)
	}
}

func TestFirstInterruptStops(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.create("long")
	done := b.follow("long", b.door.URL, nil, "")
	b.interrupts <- os.Interrupt
	b.ends("long", platform.JobPhaseStopped)
	if code := b.report(<-done); code != 130 {
		t.Errorf("exit %d", code)
	}
	if text := b.err.take(); !strings.Contains(text, "Asking the job to stop") || !strings.HasSuffix(text, "■ Stopped\n") {
		t.Errorf("%q", text)
	}
}

func TestSecondInterruptLeaves(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.create("long")
	done := b.follow("long", b.door.URL, nil, "")
	b.interrupts <- os.Interrupt
	b.says("Press Ctrl-C again")
	b.interrupts <- os.Interrupt
	if code := b.report(<-done); code != 130 {
		t.Errorf("exit %d", code)
	}
	if text := b.err.take(); !strings.HasSuffix(text, "The job goes on to its end without you. See: stint describe long\n") {
		t.Errorf("%q", text)
	}
}

// TestServerAway: a server that restarts is waited for, one that stays away is not.
func TestServerAway(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.create("patient")
	target, err := url.Parse(b.door.URL)
	if err != nil {
		t.Fatal(err)
	}
	var away atomic.Bool
	var turnedAway atomic.Int64
	pass := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host }}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away.Load() {
			turnedAway.Add(1)
			panic(http.ErrAbortHandler)
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)

	done := b.follow("patient", proxy.URL, nil, "")
	b.says("Starting")
	away.Store(true)
	b.says("The server does not answer")
	eventually(t, "several more looks", func() bool { return turnedAway.Load() > 3 })
	b.change("patient", b.enter(platform.JobDownloading))
	away.Store(false)
	b.says("Downloading")
	away.Store(true)
	eventually(t, "the second absence", func() bool { return strings.Count(b.err.String(), "The server does not answer") == 2 })
	b.door.Clock.Advance(awayFor)
	if code := b.report(<-done); code != 3 {
		t.Errorf("exit %d", code)
	}
	if text := b.err.take(); !strings.Contains(text, "lost sight of the job patient, which goes on: no server answers at "+proxy.URL) {
		t.Errorf("%q", text)
	}
}
