package agent_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// untar gives the members of a .tar.gz by name; links as "-> target".
func untar(t *testing.T, data []byte) map[string]string {
	t.Helper()
	unzipped, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	members := map[string]string{}
	archive := tar.NewReader(unzipped)
	for {
		h, err := archive.Next()
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
		members[h.Name] = string(content)
		if h.Typeflag == tar.TypeSymlink {
			members[h.Name] = "-> " + h.Linkname
		}
	}
	if _, err := io.Copy(io.Discard, unzipped); err != nil { // the checksum at the end
		t.Fatal(err)
	}
	return members
}

func TestJobFromInputToModel(t *testing.T) {
	t.Parallel()
	b := newBench(t, `
		echo "training on $(cat $ROOT/input/data/train/a.csv)"; echo "to stderr" >&2
		echo "loss=0.25;"; echo "loss=0.125;"
		mkdir $ROOT/model/sub; echo weights > $ROOT/model/sub/w.bin; chmod 750 $ROOT/model/sub/w.bin
		echo plot > $ROOT/output/data/plot.txt`)
	b.put(t, "s3://data/digits/a.csv", "1,2,3")
	b.input("train", "s3://data/digits")
	b.spec.HyperParameters = map[string]string{"epochs": "10", "name": `"x"`}
	b.spec.AlgorithmSpecification.MetricDefinitions = []sagemaker.MetricDefinition{
		{Name: new("loss"), Regex: new("loss=([0-9.]+);")}, {Name: new("bad"), Regex: new("(?<=x)([0-9]+)")}, {Name: new("nogroup"), Regex: new("loss")},
	}
	o := b.run(t)
	wantKind(t, o, platform.Succeeded)
	if o.Model != "s3://out/models/digits/output/model.tar.gz" || o.Output != "s3://out/models/digits/output/output.tar.gz" || o.ExitCode != 0 {
		t.Errorf("outcome: %+v", o)
	}
	if got, want := b.log(), []string{"training on 1,2,3", "to stderr", "loss=0.25;", "loss=0.125;"}; !slices.Equal(got, want) {
		t.Errorf("log is %q, want %q", got, want)
	}
	if got, want := b.phases(), []platform.Phase{platform.PhaseDownloading, platform.PhaseTraining, platform.PhaseUploading}; !slices.Equal(got, want) {
		t.Errorf("phases are %v, want %v", got, want)
	}
	if values := b.metrics(); !slices.Equal(values, []float64{0.25, 0.125}) {
		t.Errorf("metrics are %v", values)
	}
	if w := b.warnings(); !strings.Contains(w, `"bad"`) || !strings.Contains(w, `"nogroup"`) {
		t.Errorf("warnings are %q", w)
	}
	if got := untar(t, b.get(t, o.Model)); !reflect.DeepEqual(got, map[string]string{"sub/": "", "sub/w.bin": "weights\n"}) {
		t.Errorf("model holds %v", got)
	}
	if got := untar(t, b.get(t, o.Output)); !reflect.DeepEqual(got, map[string]string{"plot.txt": "plot\n"}) {
		t.Errorf("output holds %v", got)
	}
}

func TestConfigurationFiles(t *testing.T) {
	t.Parallel()
	b := newBench(t, "true")
	b.put(t, "s3://data/t/a", "1")
	b.put(t, "s3://data/v/b", "2")
	b.input("train", "s3://data/t", func(c *sagemaker.Channel) {
		c.ContentType, c.InputMode = new("text/csv"), new(sagemaker.TrainingInputModeFastFile)
		c.DataSource.S3DataSource.S3DataDistributionType = new(sagemaker.S3DataDistributionShardedByS3Key)
	})
	b.input("validation", "s3://data/v")
	b.spec.HyperParameters = map[string]string{"epochs": "10", "list": `["a"]`}
	b.spec.CheckpointConfig = &sagemaker.CheckpointConfig{S3Uri: new("s3://out/c")}
	wantKind(t, b.run(t), platform.Succeeded)
	for file, want := range map[string]string{
		"hyperparameters.json": `{"epochs":"10","list":"[\"a\"]"}`,
		"resourceconfig.json": `{"current_host":"algo-1","current_instance_type":"ml.m5.large","current_group_name":"homogeneousCluster","hosts":["algo-1"],
			"instance_groups":[{"instance_group_name":"homogeneousCluster","instance_type":"ml.m5.large","hosts":["algo-1"]}],"network_interface_name":"lo"}`,
		"inputdataconfig.json": `{"train":{"TrainingInputMode":"File","S3DistributionType":"ShardedByS3Key","RecordWrapperType":"None","ContentType":"text/csv"},
			"validation":{"TrainingInputMode":"File","S3DistributionType":"FullyReplicated","RecordWrapperType":"None"}}`,
		"checkpointconfig.json": `{"S3Uri":"s3://out/c","LocalPath":"/opt/ml/checkpoints"}`,
	} {
		doc, err := os.ReadFile(filepath.Join(b.cfg.Root, "input/config", file))
		if err != nil {
			t.Fatal(err)
		}
		var got, wanted any
		if json.Unmarshal(doc, &got) != nil || json.Unmarshal([]byte(want), &wanted) != nil || !reflect.DeepEqual(got, wanted) {
			t.Errorf("%s is %s, want %s", file, doc, want)
		}
	}
	for _, folder := range []string{"model", "output/data", "checkpoints"} {
		if info, err := os.Stat(filepath.Join(b.cfg.Root, folder)); err != nil || !info.IsDir() {
			t.Errorf("%s is missing", folder)
		}
	}
}

func TestEnvironmentIsOnlyWhatTheContractNames(t *testing.T) {
	t.Setenv("STINT_TEST_SECRET", "leak")
	b := newBench(t, "env > $ROOT/model/env")
	b.assignment.Runtime = platform.Runtime{Name: "r", Interpreter: "/usr/bin/python3", Env: map[string]string{"FROM": "runtime", "BOTH": "runtime"}}
	b.spec.Environment["BOTH"] = "request"
	o := b.run(t)
	wantKind(t, o, platform.Succeeded)
	env := map[string]string{}
	for line := range strings.Lines(untar(t, b.get(t, o.Model))["env"]) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		env[name] = value
	}
	for name, want := range map[string]string{
		"TRAINING_JOB_NAME": "digits", "TRAINING_JOB_ARN": string(b.assignment.ARN), "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1",
		"SAGEMAKER_REGION": "us-east-1", "AWS_ENDPOINT_URL": "http://127.0.0.1:9400", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9401",
		"S3_ENDPOINT_URL": "http://127.0.0.1:9401", "AWS_ACCESS_KEY_ID": "ASIATEST", "AWS_SECRET_ACCESS_KEY": "s3cret", "AWS_SESSION_TOKEN": "t0ken",
		"CURRENT_HOST": "algo-1", "SM_CURRENT_HOST": "algo-1", "STINT_NUM_CPUS": "2", "FROM": "runtime", "BOTH": "request", "PYTHONUNBUFFERED": "1",
		"HOME": filepath.Join(b.cfg.Root, "home"), "TMPDIR": "/tmp",
		"STINT_INTERRUPTION_FILE": filepath.Join(b.cfg.Root, "input/spot-interruption.json"), "STINT_METADATA_URL": env["AWS_EC2_METADATA_SERVICE_ENDPOINT"],
		"PIP_BREAK_SYSTEM_PACKAGES": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PET_MASTER_PORT": "29346",
	} {
		if env[name] != want {
			t.Errorf("%s is %q, want %q", name, env[name], want)
		}
		delete(env, name)
	}
	if !strings.HasPrefix(env["AWS_EC2_METADATA_SERVICE_ENDPOINT"], "http://127.0.0.1:") {
		t.Errorf("the metadata service is at %q", env["AWS_EC2_METADATA_SERVICE_ENDPOINT"])
	}
	for _, shell := range []string{"AWS_EC2_METADATA_SERVICE_ENDPOINT", "PATH", "LANG", "ROOT", "PWD", "OLDPWD", "SHLVL", "_"} {
		delete(env, shell)
	}
	if len(env) > 0 {
		t.Errorf("the environment also has %v", env)
	}
}

func TestPythonIsTheRuntimes(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	bin := filepath.Join(t.TempDir(), "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	interpreter := filepath.Join(bin, "python3.99")
	if err := os.WriteFile(interpreter, []byte("#!/bin/sh\necho \"python: $@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	b.assignment.Runtime = platform.Runtime{Name: "r", Interpreter: interpreter, Entry: []string{"{python}", "-S", "{shim}"}}
	b.cfg.Shim = "/shim/train.py"
	for want, entry := range map[string][]string{
		"python: -S /shim/train.py --x": nil, "python: p.py --x": {"python", "p.py"}, "python: p3.py --x": {"python3", "p3.py"},
	} {
		b.spec.AlgorithmSpecification.ContainerEntrypoint, b.spec.AlgorithmSpecification.ContainerArguments = entry, []string{"--x"}
		next := newBench(t, "")
		next.cfg.Shim, next.spec, next.assignment.Runtime = b.cfg.Shim, b.spec, b.assignment.Runtime
		wantKind(t, next.run(t), platform.Succeeded)
		if got := next.log(); !slices.Equal(got, []string{want}) {
			t.Errorf("entry %q printed %q, want %q", entry, got, want)
		}
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 5000)
	for name, c := range map[string]struct {
		script string
		code   int
		reason []string
	}{
		"failure file":      {`echo boom > $ROOT/output/failure; exit 3`, 3, []string{"AlgorithmError: boom, exit code: 3"}},
		"last lines":        {`echo one; echo "ValueError: no" >&2; exit 1`, 1, []string{"one\nValueError: no, exit code: 1"}},
		"signal":            {`kill -SEGV $$`, 139, []string{"signal 11", ", exit code: 139"}},
		"long failure":      {`echo ` + long + ` > $ROOT/output/failure; exit 1`, 1, []string{"é…, exit code: 1"}},
		"failure is a link": {`ln -s /etc/passwd $ROOT/output/failure; exit 1`, 1, []string{"AlgorithmError: , exit code: 1"}},
		"failure is a pipe": {`mkfifo $ROOT/output/failure; echo said; exit 1`, 1, []string{"AlgorithmError: said, exit code: 1"}},
		"binary failure":    {`printf 'a\377b\000' > $ROOT/output/failure; exit 1`, 1, []string{"a\uFFFDb"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, `echo kept > $ROOT/model/partial; `+c.script)
			o := b.run(t)
			wantKind(t, o, platform.AlgorithmError, c.reason...)
			if o.ExitCode != c.code {
				t.Errorf("exit code is %d, want %d", o.ExitCode, c.code)
			}
			if n := len([]rune(o.Reason)); n > 1024 {
				t.Errorf("the reason has %d characters", n)
			}
			if o.Model == "" {
				t.Error("what a failed job left in its model folder was not uploaded")
			}
		})
	}
}

func TestCommandThatCannotStart(t *testing.T) {
	t.Parallel()
	for name, entry := range map[string][]string{"missing": {"no-such-program"}, "missing path": {"/no/such/program"}, "not executable": {"/etc/passwd"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "")
			b.spec.AlgorithmSpecification.ContainerEntrypoint = entry
			wantKind(t, b.run(t), platform.ClientError, entry[0])
			if slices.Contains(b.phases(), platform.PhaseTraining) {
				t.Error("Training was reported although nothing ran")
			}
		})
	}
}

func TestStop(t *testing.T) {
	t.Parallel()
	const obedient = `trap 'echo saving; echo saved > $ROOT/model/m; exit 0' TERM; echo ready; while :; do sleep 0.05; done`
	const deaf = `trap '' TERM; echo ready; while :; do sleep 0.05; done`
	for name, c := range map[string]struct {
		script string
		ask    func(*bench, func())
		kind   platform.OutcomeKind
		code   int
		model  bool
	}{
		"by the control plane": {obedient, func(b *bench, _ func()) { b.set(func(c *control) { c.stop = true }) }, platform.StopObeyed, 0, true},
		"by a signal":          {obedient, func(_ *bench, cancel func()) { cancel() }, platform.StopObeyed, 0, true},
		"deaf to SIGTERM":      {deaf, func(_ *bench, cancel func()) { cancel() }, platform.StopObeyed, 137, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, c.script)
			b.assignment.StopGrace = 1
			if c.model {
				b.assignment.StopGrace = 60
			}
			cancel := b.start(t)
			b.until(t, "the script to begin", said("ready"))
			c.ask(b, cancel)
			o := b.wait(t)
			wantKind(t, o, c.kind)
			if o.ExitCode != c.code || (o.Model != "") != c.model {
				t.Errorf("outcome: %+v", o)
			}
		})
	}
}

// The program that the shell started gets the grace that the shell did not use.
func TestStopGivesTheGraceToWhatTheCommandLeft(t *testing.T) {
	t.Parallel()
	b := newBench(t, `sh -c 'trap "sleep 0.3; echo saved > $ROOT/model/m; exit" TERM; echo ready; while :; do sleep 0.05; done'; true`)
	b.assignment.StopGrace = 30
	cancel := b.start(t)
	b.until(t, "the script to begin", said("ready"))
	cancel()
	o := b.wait(t)
	wantKind(t, o, platform.StopObeyed)
	if o.Model == "" {
		t.Error("the inner program could not save its model")
	}
}

func TestMaxRuntimeIsKeptWithoutTheServer(t *testing.T) {
	t.Parallel()
	b := newBench(t, `trap 'echo saved > $ROOT/model/m; exit 0' TERM; echo ready; while :; do sleep 0.05; done`)
	b.assignment.MaxRun = 1
	b.start(t)
	b.until(t, "the script to begin", said("ready"))
	b.set(func(c *control) { c.away = true })
	deadline := time.Now().Add(60 * time.Second)
	for {
		reports, err := agent.ReadSpool(b.cfg.Dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(reports); n > 0 && reports[n-1].Outcome != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the outcome was not written down while the server was away")
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.set(func(c *control) { c.away = false })
	o := b.wait(t)
	wantKind(t, o, platform.MaxRuntimeExceeded)
	if o.Model == "" {
		t.Error("the model was not uploaded")
	}
}

func TestGoneEndsAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, `trap '' TERM; echo ready; while :; do sleep 0.05; done`)
	b.assignment.StopGrace = 600
	b.start(t)
	b.until(t, "the script to begin", said("ready"))
	b.set(func(c *control) { c.gone = true })
	select {
	case err := <-b.done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(60 * time.Second):
		t.Fatal("the agent goes on")
	}
	if b.outcome() != nil {
		t.Error("an agent that is not wanted reported an outcome")
	}
}

func TestServerAwayAtTheStart(t *testing.T) {
	t.Parallel()
	b := newBench(t, "echo ran")
	b.away = true
	b.start(t)
	b.until(t, "several questions", func(c *control) bool { return c.asked > 3 })
	b.set(func(c *control) { c.away = false })
	wantKind(t, b.wait(t), platform.Succeeded)
}

func TestStopBeforeTheAssignment(t *testing.T) {
	t.Parallel()
	b := newBench(t, "echo ran > $ROOT/model/m")
	b.away = true
	cancel := b.start(t)
	b.until(t, "a question", func(c *control) bool { return c.asked > 0 })
	cancel()
	b.set(func(c *control) { c.away = false })
	o := b.wait(t)
	wantKind(t, o, platform.StopObeyed)
}

func TestDenied(t *testing.T) {
	t.Parallel()
	b := newBench(t, "echo ran")
	b.denied = true
	b.start(t)
	if err := <-b.done; !platform.Is(err, platform.Denied) {
		t.Errorf("Run gave %v, want Denied", err)
	}
}

// Nothing that the command left behind outlives it.
func TestLeftoversAreKilled(t *testing.T) {
	t.Parallel()
	b := newBench(t, `(trap '' TERM HUP; while :; do sleep 0.05; done) & echo $! > $ROOT/model/pid; exit 0`)
	o := b.run(t)
	wantKind(t, o, platform.Succeeded)
	pid := strings.TrimSpace(untar(t, b.get(t, o.Model))["pid"])
	runs := func() bool { // what was killed may take a moment to end
		state, err := os.ReadFile("/proc/" + pid + "/stat")
		return err == nil && !strings.Contains(string(state), ") Z ")
	}
	for deadline := time.Now().Add(60 * time.Second); runs(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("process %s still runs", pid)
		}
	}
}

func TestOutOfMemoryIsSaid(t *testing.T) {
	t.Parallel()
	b := newBench(t, `kill -KILL $$`)
	b.cfg.Memory = func() agent.Memory { return agent.Memory{LimitBytes: 8 << 30, OOMKills: 1} }
	wantKind(t, b.run(t), platform.AlgorithmError, "out of memory", "8 GiB", "exit code: 137")
}

func TestUserOwnsWhatItGets(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Fatal("this test changes users, which needs root")
	}
	b := newBench(t, `id -u; id -g; id -G; touch $ROOT/model/m $ROOT/input/data/train/new $ROOT/code/x $HOME/y && echo wrote; pwd`)
	for dir := b.cfg.Root; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if os.MkdirAll(dir, 0o755) != nil || os.Chmod(dir, 0o755) != nil {
			t.Fatal("cannot open the way")
		}
	}
	b.put(t, "s3://data/d/x/a", "1")
	b.put(t, "s3://data/src.tar.gz", string(tarball(t, member{name: "train.py", content: "pass"})))
	b.input("train", "s3://data/d/")
	b.spec.HyperParameters = map[string]string{"sagemaker_submit_directory": `"s3://data/src.tar.gz"`}
	b.cfg.User = &agent.User{UID: 234567, GID: 234568}
	wantKind(t, b.run(t), platform.Succeeded)
	if got, want := b.log(), []string{"234567", "234568", "234568", "wrote", filepath.Join(b.cfg.Root, "code")}; !slices.Equal(got, want) {
		t.Errorf("log is %q, want %q", got, want)
	}
}

func TestInterpreterOutOfReachIsNamed(t *testing.T) {
	t.Parallel()
	closed := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	program, link := filepath.Join(closed, "program"), filepath.Join(closed, "link")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/bin/sh", link); err != nil { // as a virtual environment leads to its Python
		t.Fatal(err)
	}
	for _, path := range []string{program, link} {
		b := newBench(t, "")
		b.spec.AlgorithmSpecification.ContainerEntrypoint = []string{path}
		b.cfg.User = &agent.User{UID: 234567, GID: 234567}
		wantKind(t, b.run(t), platform.ClientError, "234567", closed)
	}
}
