package shim_test

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

const raising = "def main():\n    raise ValueError('the data is bad')\nmain()\n"

// failures are the ways to fail and what each leaves behind.
var failures = map[string]struct {
	program string
	source  map[string]string
	code    int
	want    []string // parts of the failure file, in order
}{
	"exception": {
		"train.py", map[string]string{"train.py": raising}, 1,
		[]string{
			"ExecuteUserScriptError:\nExitCode 1\nErrorMessage \"ValueError: the data is bad\n",
			`train.py", line 2, in main`, "line 3, in <module>", `train.py"`,
		},
	},
	"exception of a library": {
		"train.py", map[string]string{"train.py": "import lib\nraise lib.Bad()\n", "lib.py": "class Bad(Exception): pass\n"}, 1,
		[]string{"ErrorMessage \"lib.Bad\n"},
	},
	"syntax error": {
		"train.py", map[string]string{"train.py": "x = (\n"}, 1,
		[]string{"ErrorMessage \"SyntaxError: ", "(train.py, line "},
	},
	"exit code": {
		"train.py", map[string]string{"train.py": "import sys\nsys.exit(3)\n"}, 3,
		[]string{"ExecuteUserScriptError:\nExitCode 3\nErrorMessage \"\"\nCommand \"", "train.py"},
	},
	"exit code that looks like a signal's": {
		"train.py", map[string]string{"train.py": "import sys\nsys.exit(128)\n"}, 128, []string{"ExitCode 128\n"},
	},
	"killed, as for want of memory": {
		"train.py", map[string]string{"train.py": "import os\nos.kill(os.getpid(), 9)\n"}, 137,
		[]string{"ExitCode 137\n", "ExtraInfo \"OutOfMemory: Process killed by SIGKILL (signal 9)\"\n"},
	},
	"crash": {
		"train.py", map[string]string{"train.py": "import os\nos.kill(os.getpid(), 11)\n"}, 139,
		[]string{"ExitCode 139\n", "signal 11"},
	},
	"a message longer than the reason": {
		"train.py", map[string]string{"train.py": "raise RuntimeError('x' * 100000)\n"}, 1,
		[]string{"RuntimeError: xxx", "\nCommand \"", "train.py"},
	},
	"the script's own failure file": {
		"train.py", map[string]string{"train.py": "open('../output/failure', 'w').write('out of luck')\nraise ValueError\n"}, 1,
		[]string{"out of luck"},
	},
	"a failed child that it got over": {
		"train.py", map[string]string{"train.py": "import subprocess, sys\nsubprocess.run([sys.executable, 'other.py'])\nsys.exit(1)\n", "other.py": raising}, 1,
		[]string{"ErrorMessage \"\""},
	},
	"an exception hook of its own": {
		"train.py", map[string]string{"train.py": "import sys\nusual = sys.excepthook\nsys.excepthook = lambda *a: usual(*a)\nraise ValueError('seen')\n"}, 1,
		[]string{"ErrorMessage \"ValueError: seen"},
	},
	"Python in a shell script": {
		"run.sh", map[string]string{"run.sh": "#!/bin/sh\nset -e\npython3 first.py || true\npython3 second.py\n", "first.py": "raise KeyError\n", "second.py": raising}, 1,
		[]string{"ErrorMessage \"ValueError: the data is bad", "/bin/sh -c exec ./run.sh"},
	},
	"missing script": {
		"trian.py", map[string]string{"train.py": "", "data/x": ""}, 1,
		[]string{"the entry point 'trian.py' is not in the source directory", "which holds: data/, train.py"},
	},
	"outside": {"../train.py", map[string]string{"train.py": ""}, 1, []string{"'../train.py' is not usable"}},
	"option":  {"-c", nil, 1, []string{"'-c' is not usable"}},
	"none":    {"", nil, 1, []string{`no entry point: set the hyperparameter "sagemaker_program"`}},
}

func TestFailureFile(t *testing.T) {
	t.Parallel()
	for name, test := range failures {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := newJob(t, map[string]any{"sagemaker_program": test.program}, test.source)
			j.write("output/data/kept", "")
			r := j.run()
			if r.code != test.code {
				t.Errorf("exit code %d, want %d; stderr: %s", r.code, test.code, r.stderr)
			}
			rest := r.failure
			for _, part := range test.want {
				_, after, found := strings.Cut(rest, part)
				if !found {
					t.Fatalf("no %q in\n%s", part, r.failure)
				}
				rest = after
			}
			if len([]rune(r.failure)) > 960 {
				t.Errorf("%d characters: the platform shows 1,024 with its own words", len([]rune(r.failure)))
			}
			if test.want[0] != "out of luck" && !strings.Contains(r.stderr, "stint: "+r.failure) {
				t.Errorf("the log does not say it: %s", r.stderr)
			}
		})
	}
}

// TestBadConfiguration covers what the platform or a request may get wrong.
func TestBadConfiguration(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		spoil func(*job)
		want  string
	}{
		"no file":   {func(j *job) { j.remove("input/config/hyperparameters.json") }, "No such file"},
		"not JSON":  {func(j *job) { j.write("input/config/inputdataconfig.json", "{") }, "inputdataconfig.json is not JSON"},
		"not UTF-8": {func(j *job) { j.write("input/config/inputdataconfig.json", "\xff") }, "inputdataconfig.json is not JSON"},
		"an array":  {func(j *job) { j.configure("hyperparameters", []int{}) }, "does not hold a JSON object"},
		"no hosts":  {func(j *job) { j.configure("resourceconfig", map[string]any{"current_host": "a"}) }, "no 'hosts'"},
		"other host": {func(j *job) {
			j.configure("resourceconfig", map[string]any{"current_host": "a", "hosts": []string{"b"}})
		}, "is not one of"},
		"not fetched": {func(j *job) {
			j.configure("hyperparameters", map[string]any{"sagemaker_program": "train.py", "sagemaker_submit_directory": `"s3://b/k.tar.gz"`})
			j.remove("code")
		}, "the source s3://b/k.tar.gz was not fetched"},
		"no MPI": {func(j *job) {
			j.configure("hyperparameters", map[string]any{"sagemaker_program": "train.py", "sagemaker_mpi_enabled": "true"})
			j.environ = append(j.environ, "PATH=/nowhere")
		}, "mpirun is not in the PATH"},
		"a library of the vendor": {func(j *job) {
			j.configure("hyperparameters", map[string]any{"sagemaker_program": "train.py", "sagemaker_distributed_dataparallel_enabled": "true"})
		}, "sagemaker_distributed_dataparallel_enabled is not supported here"},
		"a NUL in an argument": {func(j *job) {
			j.configure("hyperparameters", map[string]any{"sagemaker_program": "train.py", "x": "a\x00b"})
		}, "cannot start"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := newJob(t, map[string]any{"sagemaker_program": "train.py"}, map[string]string{"train.py": "raise SystemError\n"})
			test.spoil(j)
			if r := j.run(); r.code != 1 || !strings.Contains(r.failure, test.want) || strings.Contains(r.failure, "Framework Error") {
				t.Errorf("exit code %d, failure %q, want %q", r.code, r.failure, test.want)
			}
		})
	}
}

// TestHugeAndOddHyperparameters: what the kernel does not let into an environment is left
// out with a word, and the script still gets its arguments.
func TestHugeAndOddHyperparameters(t *testing.T) {
	t.Parallel()
	hyperparameters := map[string]any{"sagemaker_program": "train.py", "a=b": "1", "": "empty", "quote": "it's $HOME `x`", "lone": `"\ud800"`}
	for i := range 100 {
		hyperparameters["big"+strconv.Itoa(i)] = strings.Repeat("v", 2500)
	}
	j := newJob(t, hyperparameters, nil)
	j.dumpEverywhere()
	d := j.dumped()
	if len(d.Argv) != 1+2*104 {
		t.Errorf("%d arguments", len(d.Argv))
	}
	r := j.must()
	for _, name := range []string{"SM_TRAINING_ENV", "SM_HPS", "SM_USER_ARGS", "SM_HP_A=B"} {
		if _, ok := d.Environ[name]; ok || !strings.Contains(r.stderr, name+" is left out") {
			t.Errorf("%s is set, or the log does not say that it is not: %s", name, r.stderr)
		}
	}
	if d.Environ["SM_HP_QUOTE"] != "it's $HOME `x`" || len(d.Environ["SM_HP_BIG7"]) != 2500 {
		t.Error("the others have suffered")
	}
}

// TestShellScriptGetsArgumentsUnharmed: the one place where a shell reads them.
func TestShellScriptGetsArgumentsUnharmed(t *testing.T) {
	t.Parallel()
	odd := "it's \"$HOME\" `id` ; * \\ é\n$(x)"
	j := newJob(t, map[string]any{"sagemaker_program": "bin/run it.sh", "v": odd, "w": ""}, map[string]string{
		"bin/run it.sh": "#!/bin/sh\nprintf '%s|' \"$@\"\n",
	})
	if r := j.must(); r.stdout != "-v|"+odd+"|-w||" {
		t.Errorf("got %q", r.stdout)
	}
}

// TestSignalsAsTheSystemHasThem: Python ignores SIGPIPE, and children would inherit that.
func TestSignalsAsTheSystemHasThem(t *testing.T) {
	t.Parallel()
	j := newJob(t, map[string]any{"sagemaker_program": "run.sh"}, map[string]string{"run.sh": "#!/bin/sh\ngrep SigIgn /proc/self/status\n"})
	r := j.must()
	ignored, err := strconv.ParseUint(strings.TrimSpace(strings.TrimPrefix(r.stdout, "SigIgn:")), 16, 64)
	if err != nil || ignored&(1<<(syscall.SIGPIPE-1)) != 0 {
		t.Errorf("SIGPIPE is ignored: %q, %v", r.stdout, err)
	}
}

// TestOutputPassesByteExact: binary output, a line of a megabyte, and the order between
// the two streams.
func TestOutputPassesByteExact(t *testing.T) {
	t.Parallel()
	j := newJob(t, map[string]any{"sagemaker_program": "train.py"}, map[string]string{"train.py": `
import os, sys
every = bytes(range(256)) * 4096
for descriptor in (1, 2):
    data = every
    while data:
        data = data[os.write(descriptor, data):]
for i in range(1000):
    print("out", i)
    print("err", i, file=sys.stderr)
`})
	var every, lines bytes.Buffer
	for range 4096 {
		for value := range 256 {
			every.WriteByte(byte(value))
		}
	}
	for i := range 1000 {
		lines.WriteString("out " + strconv.Itoa(i) + "\nerr " + strconv.Itoa(i) + "\n")
	}
	var both bytes.Buffer
	cmd := j.command()
	cmd.Stdout = &both
	cmd.Stderr = &both // one pipe for both
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	want := every.String() + every.String() + lines.String()
	if both.String() != want {
		t.Errorf("%d bytes came, %d were written, or they differ", both.Len(), len(want))
	}
}

// TestAnnouncement is what users look at first in the log.
func TestAnnouncement(t *testing.T) {
	t.Parallel()
	j := newJob(t, map[string]any{"sagemaker_program": "train.py", "sagemaker_container_log_level": "20", "epochs": "3"}, map[string]string{"train.py": "print('begun')\n"})
	r := j.must()
	for _, want := range []string{"a-job", "algo-1", "4 CPUs, 0 GPUs", "train", `{"epochs":3}`, "Invoking script with the following command:\n\n" + j.python + " train.py --epochs 3\n\nbegun\n"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("no %q in\n%s", want, r.stdout)
		}
	}
}

// TestStop: SIGTERM reaches the script, whose ending decides.
func TestStop(t *testing.T) {
	t.Parallel()
	const waiting = "print('ready')\nsignal.pause()\n"
	for name, test := range map[string]struct {
		program, text string
		code          int
		failure       string
	}{
		"saves and ends":  {"train.py", "import signal, sys\nsignal.signal(15, lambda *a: (print('saved'), sys.exit(0)))\n" + waiting, 0, ""},
		"ends":            {"train.py", "import signal\n" + waiting, 143, ""},
		"fails at saving": {"train.py", "import signal\ndef save(*a): raise OSError('no room')\nsignal.signal(15, save)\n" + waiting, 1, "OSError: no room"},
		"in a shell":      {"run.sh", "#!/bin/sh\ntrap 'echo saved; exit 0' TERM\necho ready\nwhile :; do sleep 0.05; done\n", 0, ""},
		"keeps its workers": {"train.py", `import signal, subprocess, sys
worker = subprocess.Popen(["sleep", "60"])
def save(*a):
    print("saved" if worker.poll() is None else "lost the worker")
    worker.kill()
    sys.exit(0)
signal.signal(15, save)
` + waiting, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := newJob(t, map[string]any{"sagemaker_program": test.program}, map[string]string{test.program: test.text})
			cmd := j.command()
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(stdout)
			if !lines.Scan() || lines.Text() != "ready" {
				t.Fatalf("first line %q", lines.Text())
			}
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			saved := lines.Scan() && lines.Text() == "saved"
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != test.code || (code == 0) != saved {
				t.Errorf("exit code %d, saved %t", code, saved)
			}
			if failure := j.read("output/failure"); !strings.Contains(failure, test.failure) || (failure == "") != (test.failure == "") {
				t.Errorf("failure file %q, want %q", failure, test.failure)
			}
		})
	}
}

// TestWhatScriptsRelyOn: a script is __main__ in every respect.
func TestWhatScriptsRelyOn(t *testing.T) {
	t.Parallel()
	j := newJob(t, map[string]any{"sagemaker_program": "src/train.py"}, map[string]string{
		"src/train.py": `
import multiprocessing, os, pickle, subprocess, sys, helper, beside
class Thing: pass
def work(x):
    return x * x, isinstance(pickle.loads(pickle.dumps(Thing())), Thing)
if __name__ == "__main__":
    for way in ("spawn", "fork"):
        with multiprocessing.get_context(way).Pool(2) as pool:
            assert pool.map(work, [1, 2]) == [(1, True), (4, True)]
    assert sys.argv == ["src/train.py"] and __file__.endswith("src/train.py"), (sys.argv, __file__)
    assert os.getcwd() == os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    assert os.environ["CUSTOM"] == "said" and sys.custom == "yes", "the source's sitecustomize did not run"
    assert not any(path.endswith("/hook") for path in sys.path), sys.path
    subprocess.run(["python", "-c", "import helper"], check=True)
`,
		"helper.py": "", "src/beside.py": "",
		"sitecustomize.py": "import sys\nsys.custom = 'yes'\n",
	})
	j.environ = append(j.environ, "CUSTOM=said")
	j.must()
}

// sourceArchive is a .tar.gz of train.py and the members given, each of them empty.
func sourceArchive(t *testing.T, members ...tar.Header) string {
	t.Helper()
	const script = "print('unpacked')\n"
	var archive bytes.Buffer
	zip := gzip.NewWriter(&archive)
	w := tar.NewWriter(zip)
	for _, header := range append([]tar.Header{{Name: "train.py", Size: int64(len(script)), Typeflag: tar.TypeReg}}, members...) {
		header.Mode = 0o444 // whatever it says, the job can change its source
		if err := w.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
		if header.Size > 0 {
			if _, err := w.Write([]byte(script)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(w.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
	return archive.String()
}

// TestSourceArchive: a local archive is unpacked where there is no source yet, and stays
// inside; by tarfile's own filter, and by ours for the interpreters that have none.
func TestSourceArchive(t *testing.T) {
	t.Parallel()
	const withoutFilter = "import sys, tarfile; vars(tarfile).pop('data_filter', None); sys.path.insert(0, sys.argv[1]); import prepare; prepare.extract(sys.argv[2], sys.argv[3])"
	for name, test := range map[string]struct {
		members []tar.Header
		good    bool
	}{
		"good": {[]tar.Header{
			{Name: "lib/", Typeflag: tar.TypeDir},
			{Name: "lib/x.py", Typeflag: tar.TypeReg},
			{Name: "lib/y.py", Linkname: "x.py", Typeflag: tar.TypeSymlink},
			{Name: "lib/z.py", Linkname: "lib/x.py", Typeflag: tar.TypeLink},
		}, true},
		"upwards":         {[]tar.Header{{Name: "../x.py", Typeflag: tar.TypeReg}}, false},
		"linked away":     {[]tar.Header{{Name: "x", Linkname: "/etc", Typeflag: tar.TypeSymlink}}, false},
		"hard link":       {[]tar.Header{{Name: "x", Linkname: "../source.tar.gz", Typeflag: tar.TypeLink}}, false},
		"device":          {[]tar.Header{{Name: "x", Typeflag: tar.TypeChar}}, false},
		"links in a row":  {[]tar.Header{{Name: "d/a", Linkname: "..", Typeflag: tar.TypeSymlink}, {Name: "b", Linkname: "d/a/..", Typeflag: tar.TypeSymlink}}, false},
		"through a link":  {[]tar.Header{{Name: "a", Linkname: "..", Typeflag: tar.TypeSymlink}, {Name: "a/x.py", Typeflag: tar.TypeReg}}, false},
		"the root itself": {[]tar.Header{{Name: "./", Typeflag: tar.TypeDir}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := newJob(t, nil, nil)
			source := filepath.Join(j.root, "source.tar.gz")
			j.write("source.tar.gz", sourceArchive(t, test.members...))
			j.configure("hyperparameters", map[string]any{"sagemaker_program": "train.py", "sagemaker_submit_directory": source})
			r := j.run()
			if (r.code == 0) != test.good || strings.HasSuffix(r.stdout, "unpacked\n") != test.good || strings.Contains(r.failure, "Framework Error") {
				t.Errorf("exit code %d, stdout %q, failure %q", r.code, r.stdout, r.failure)
			}
			if j.read("x.py") != "" {
				t.Error("a member left the source directory")
			}

			old := filepath.Join(j.root, "old")
			output, err := exec.Command(j.python, "-c", withoutFilter, j.folder, source, old).CombinedOutput()
			if (err == nil) != test.good || !test.good && !strings.Contains(string(output), "source archive's member") {
				t.Errorf("without tarfile's filter: %v\n%s", err, output)
			}
			if test.good && j.read("old/train.py") == "" {
				t.Error("nothing came out")
			}
		})
	}
}

// TestUnwritableSource: a source that the job may only read runs, with less said on failure.
func TestUnwritableSource(t *testing.T) {
	t.Parallel()
	j := newJob(t, map[string]any{"sagemaker_program": "train.py"}, map[string]string{"train.py": "raise ValueError('x')\n", ".stint": "not a folder"})
	if r := j.run(); r.code != 1 || !strings.Contains(r.failure, "ExecuteUserScriptError") || !strings.Contains(r.stderr, "ValueError: x") {
		t.Errorf("exit code %d, failure %q, stderr %s", r.code, r.failure, r.stderr)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	j := newJob(t, nil, nil)
	output, err := exec.Command(j.python, filepath.Join(j.folder, "train.py"), "--what").CombinedOutput()
	if err == nil || !strings.Contains(string(output), "usage:") {
		t.Errorf("%v: %s", err, output)
	}
}
