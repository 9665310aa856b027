package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
)

// pythonImage means the system's Python in script mode.
const pythonImage = "own/python:3"

// TestBadInput runs jobs that cannot succeed, and odd ones that must, and reads what their users are told.
func TestBadInput(t *testing.T) {
	t.Parallel()
	s := prepare(t, roomy...)
	runtimes := filepath.Join(s.home, "runtimes") // of its own: nothing is installed
	if err := os.RemoveAll(runtimes); err != nil {
		t.Fatal(err)
	}
	s.up(t)
	s.makeBucket(t)
	if out, err := s.stint(t, "runtime", "add", "own", "--image", "own/python:*", "--python", "/usr/bin/python3").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, test := range map[string]func(*testing.T, *server){
		"commands": badCommands, "scripts": badScripts, "places": badPlaces, "images": badImages, "long line": longLine, "binary": binaryOutput,
		"max runtime": maxRuntime, "metrics": badMetrics, "unicode": unicodeEverywhere, "empty model": emptyModel, "left running": leftRunning,
		"failure file": failureFile,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, s)
		})
	}
}

// wantFailure checks that a job fails for a reason with all of the words.
func (j *job) wantFailure(t *testing.T, words ...string) *sagemaker.DescribeTrainingJobOutput {
	t.Helper()
	d := j.end(t, failed)
	reason := aws.ToString(d.FailureReason)
	if n := utf8.RuneCountInString(reason); n > 1024 {
		t.Errorf("%s: the reason has %d characters", j.name, n)
	}
	for _, w := range words {
		if !strings.Contains(reason, w) {
			t.Errorf("%s failed for the reason %q, which does not say %q", j.name, reason, w)
		}
	}
	if d.SecondaryStatus != types.SecondaryStatusFailed {
		t.Errorf("%s is %s", j.name, d.SecondaryStatus)
	}
	return d
}

func badCommands(t *testing.T, s *server) {
	for i, c := range []struct {
		command string
		words   []string
	}{
		{"echo the last words >&2; exit 3", []string{"AlgorithmError: ", "the last words", "exit code: 3"}},
		{"exit 255", []string{"AlgorithmError: ", "exit code: 255"}},
		{"kill -SEGV $$", []string{"AlgorithmError: ", "signal 11", "exit code: 139"}},
		{"kill -KILL $$", []string{"AlgorithmError: ", "signal 9", "exit code: 137"}},
		{"no-such-program --at-all", []string{"AlgorithmError: ", "no-such-program", "exit code: 127"}},
		{"seq 1 100000; exit 1", []string{"AlgorithmError: ", "\n99999\n100000", "exit code: 1"}},
	} {
		s.job(t, fmt.Sprint("command-", i), c.command).wantFailure(t, c.words...)
	}
	j := s.job(t, "no-command", "", func(in *sagemaker.CreateTrainingJobInput) {
		in.AlgorithmSpecification.ContainerEntrypoint = []string{"/opt/program/train"}
	})
	j.wantFailure(t, "ClientError: ", `"/opt/program/train"`, "does not exist")
}

// script makes a request for script mode with a source of its own.
func (s *server) script(t *testing.T, name, program string, source map[string]string) *job {
	t.Helper()
	key := name + "/sourcedir.tar.gz"
	s.put(t, key, tarball(t, source))
	return s.job(t, name, "", scriptMode(program, "s3://"+bucket+"/"+key))
}

// tarball packs files into a .tar.gz.
func tarball(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var archive bytes.Buffer
	zipped := gzip.NewWriter(&archive)
	out := tar.NewWriter(zipped)
	for file, text := range files {
		if err := out.WriteHeader(&tar.Header{Name: file, Mode: 0o755, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	return archive.Bytes()
}

// scriptMode is as the SageMaker SDK asks for it: values are JSON.
func scriptMode(program, source string) func(*sagemaker.CreateTrainingJobInput) {
	return func(in *sagemaker.CreateTrainingJobInput) {
		in.AlgorithmSpecification.TrainingImage, in.AlgorithmSpecification.ContainerEntrypoint = aws.String(pythonImage), nil
		in.HyperParameters = map[string]string{"sagemaker_program": `"` + program + `"`, "sagemaker_submit_directory": `"` + source + `"`}
	}
}

func badScripts(t *testing.T, s *server) {
	s.script(t, "script-missing", "train.py", map[string]string{"other.py": "print(1)"}).wantFailure(t, "train.py")
	s.script(t, "script-syntax", "train.py", map[string]string{"train.py": "def f(:\n  pass\n"}).wantFailure(t, "AlgorithmError: ", "SyntaxError", "train.py")
	s.script(t, "script-raises", "train.py", map[string]string{"train.py": "raise ValueError('größer als nötig')"}).wantFailure(t, "AlgorithmError: ", "ValueError", "größer als nötig", "exit code: 1")
	s.script(t, "script-imports", "train.py", map[string]string{"train.py": "import nobody_made_this"}).wantFailure(t, "ModuleNotFoundError", "nobody_made_this")
	s.script(t, "script-exits", "train.py", map[string]string{"train.py": "import sys; sys.exit(7)"}).wantFailure(t, "exit code: 7")
	j := s.script(t, "script-fine", "train.py", map[string]string{"train.py": "import helper; helper.say()", "helper.py": "def say(): print('fine')"})
	j.end(t, completed)
	if log := j.log(t); !strings.Contains(strings.Join(log, "\n"), "fine") {
		t.Errorf("the script said %q", log)
	}
	missing := "s3://" + bucket + "/nobody/sourcedir.tar.gz"
	s.job(t, "source-missing", "", scriptMode("train.py", missing)).wantFailure(t, "ClientError: ", missing)
	s.put(t, "broken/sourcedir.tar.gz", []byte("this is no archive"))
	s.job(t, "source-broken", "", scriptMode("train.py", "s3://"+bucket+"/broken/sourcedir.tar.gz")).wantFailure(t, "ClientError: ", "broken/sourcedir.tar.gz", "not a usable .tar.gz")
}

func badPlaces(t *testing.T, s *server) {
	for i, uri := range []string{"s3://nobody-made-this-bucket/data/", "s3://" + bucket + "/nobody/put/this"} {
		d := s.job(t, fmt.Sprint("place-", i), "true", input("train", uri)).wantFailure(t, "ClientError: ", `"`+uri+`"`)
		if got := phases(d); got != "Starting Downloading Failed" {
			t.Errorf("the job went %s", got)
		}
	}
	j := s.job(t, "no-output-bucket", "echo m > /opt/ml/model/m", func(in *sagemaker.CreateTrainingJobInput) {
		in.OutputDataConfig.S3OutputPath = aws.String("s3://nobody-made-this-bucket/out")
	})
	j.wantFailure(t, "ClientError: ", "s3://nobody-made-this-bucket", "is kept in")
}

func badImages(t *testing.T, s *server) {
	image := func(uri string) func(*sagemaker.CreateTrainingJobInput) {
		return func(in *sagemaker.CreateTrainingJobInput) { in.AlgorithmSpecification.TrainingImage = &uri }
	}
	began := time.Now()
	s.job(t, "not-installed", "true", image("683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3")).
		wantFailure(t, "ClientError: ", "sagemaker-scikit-learn:1.2-1-cpu-py3", "stint runtime install sklearn")
	s.job(t, "unknown-image", "true", image("nobody/knows:this")).wantFailure(t, "ClientError: ", "nobody/knows:this", "stint runtime add")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v to say so", took)
	}
}

func longLine(t *testing.T, s *server) {
	const size = 1 << 20
	j := s.job(t, "long-line", fmt.Sprintf("echo before; head -c %d /dev/zero | tr '\\0' x; echo; echo after", size))
	j.end(t, completed)
	log := j.log(t)
	if len(log) < 3 || log[0] != "before" || log[len(log)-1] != "after" {
		t.Fatalf("%d events", len(log))
	}
	for _, event := range log {
		if len(event) > 256<<10 {
			t.Errorf("an event has %d bytes", len(event))
		}
	}
	if line := strings.Join(log[1:len(log)-1], ""); line != strings.Repeat("x", size) {
		t.Errorf("the line came as %d bytes", len(line))
	}
}

func binaryOutput(t *testing.T, s *server) {
	j := s.job(t, "binary", `echo before; head -c 300000 /dev/urandom; printf '\nnull \000 and stray \377 bytes\nafter\n'`)
	j.end(t, completed)
	log := j.log(t)
	if log[0] != "before" || log[len(log)-1] != "after" {
		t.Errorf("the log begins with %q and ends with %q", log[0], log[len(log)-1])
	}
	if line := log[len(log)-2]; line != "null \x00 and stray \uFFFD bytes" {
		t.Errorf("got %q", line)
	}
}

func maxRuntime(t *testing.T, s *server) {
	limit := func(in *sagemaker.CreateTrainingJobInput) { in.StoppingCondition.MaxRuntimeInSeconds = aws.Int32(1) }
	j := s.job(t, "too-long", "trap 'echo saved >> /opt/ml/model/m; exit 1' TERM; echo first > /opt/ml/model/m; while :; do sleep 0.02; done", limit)
	d := j.end(t, stopped)
	if d.SecondaryStatus != types.SecondaryStatusMaxRuntimeExceeded {
		t.Errorf("the job is %s", d.SecondaryStatus)
	}
	if got := phases(d); got != "Starting Downloading Training Uploading MaxRuntimeExceeded" {
		t.Errorf("the job went %s", got)
	}
	if m := string(j.model(t)["m"]); m != "first\nsaved\n" {
		t.Errorf("the model holds %q", m)
	}
	if billable := *d.BillableTimeInSeconds; billable < 1 || billable > 10 {
		t.Errorf("billed %d s", billable)
	}
}

func badMetrics(t *testing.T, s *server) {
	j := s.job(t, "metrics", "echo 'good=1.5 bad=x'; echo good=nonsense; echo good=1e400", func(in *sagemaker.CreateTrainingJobInput) {
		in.AlgorithmSpecification.MetricDefinitions = []types.MetricDefinition{
			{Name: aws.String("broken"), Regex: aws.String("loss=([0-9")},
			{Name: aws.String("good"), Regex: aws.String("good=([^ ]+)")},
		}
	})
	d := j.end(t, completed)
	if len(d.FinalMetricDataList) != 1 || *d.FinalMetricDataList[0].MetricName != "good" || *d.FinalMetricDataList[0].Value != 1.5 {
		t.Errorf("metrics: %+v", d.FinalMetricDataList)
	}
	if said := *d.SecondaryStatusTransitions[0].StatusMessage; !strings.Contains(said, `"broken"`) || !strings.Contains(said, "loss=([0-9") {
		t.Errorf("nothing is said of the broken expression: %q", said)
	}
}

func unicodeEverywhere(t *testing.T, s *server) {
	const text = "Größe 名前 🙂 \"quoted\" \\ back 'single' $HOME"
	s.put(t, "ünï/日本 語/ファイル+1.txt", []byte(text))
	j := s.job(t, "unicode", `cat "/opt/ml/input/data/train/日本 語/ファイル+1.txt"; echo; echo "$GREETING"; cat /opt/ml/input/config/hyperparameters.json; echo; echo x > "/opt/ml/model/модель 🙂"`,
		input("train", "s3://"+bucket+"/ünï/"), func(in *sagemaker.CreateTrainingJobInput) {
			in.HyperParameters = map[string]string{"größe": text}
			in.Environment = map[string]string{"GREETING": text}
			in.OutputDataConfig.S3OutputPath = aws.String("s3://" + bucket + "/вывод")
			in.Tags = []types.Tag{{Key: aws.String("Schlüssel"), Value: aws.String("値")}}
		})
	d := j.end(t, completed)
	if d.HyperParameters["größe"] != text || d.Environment["GREETING"] != text {
		t.Errorf("described as %+v", d)
	}
	log := j.log(t)
	if len(log) != 3 || log[0] != text || log[1] != text || !strings.Contains(log[2], "größe") {
		t.Errorf("the job said %q", log)
	}
	if m := j.model(t); string(m["модель 🙂"]) != "x\n" {
		t.Errorf("the model is %q", m)
	}
}

func emptyModel(t *testing.T, s *server) {
	d := s.job(t, "empty", "true").end(t, completed)
	list, err := s.objects().ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(bucket), Prefix: aws.String("out/empty/")})
	if err != nil || len(list.Contents) != 0 {
		t.Errorf("%+v: %v", list.Contents, err)
	}
	if got := phases(d); got != "Starting Downloading Training Uploading Completed" {
		t.Errorf("the job went %s", got)
	}
	s.job(t, "no-folders", "rm -rf /opt/ml/model /opt/ml/output /opt/ml/input; true").end(t, completed)
}

// leftRunning: a job ends with its command, whatever it started.
func leftRunning(t *testing.T, s *server) {
	d := s.job(t, "left-running", "setsid sleep 600 & (trap '' TERM; sleep 600) & echo done").end(t, completed)
	training := d.SecondaryStatusTransitions[2]
	if took := training.EndTime.Sub(*training.StartTime); training.Status != types.SecondaryStatusTraining || took > 4*time.Second {
		t.Errorf("%s took %v", training.Status, took)
	}
}

func failureFile(t *testing.T, s *server) {
	s.job(t, "failure", "echo 'what went wrong, in my words' > /opt/ml/output/failure; echo noise; exit 4").
		wantFailure(t, "AlgorithmError: what went wrong, in my words", "exit code: 4")
	s.job(t, "failure-long", "head -c 5000 /dev/zero | tr '\\0' y > /opt/ml/output/failure; exit 1").wantFailure(t, "yyyyyyyy")
	// A link to a file of the machine is not read: it would end up where many may read it.
	d := s.job(t, "failure-link", "ln -s /etc/passwd /opt/ml/output/failure; exit 1").wantFailure(t, "AlgorithmError")
	if strings.Contains(*d.FailureReason, "root:") {
		t.Errorf("the reason holds a file of the machine: %q", *d.FailureReason)
	}
	s.job(t, "failure-ignored", "echo 'not so bad' > /opt/ml/output/failure; exit 0").end(t, completed)
}
