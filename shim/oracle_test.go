package shim_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// dump is a Python program that writes down what it was started with.
const dump = `
import json, os, sys
with open(os.path.join(os.environ["DUMP_ROOT"], "dump.json"), "w") as file:
    json.dump({"argv": sys.argv, "environ": dict(os.environ)}, file)
`

// dumped is what the program wrote.
type dumped struct {
	Argv    []string
	Environ map[string]string
}

// dumpEverywhere makes every way a case may start its script end in dump: as a Python
// script, from a shell script, and under stand-ins for mpirun and torch's launcher.
func (j *job) dumpEverywhere() {
	j.t.Helper()
	for _, name := range []string{"train.py", "other.py", "src/train.py"} {
		j.write("code/"+name, dump)
	}
	j.write("code/run.sh", "#!/bin/sh\nexec python3 train.py \"$@\"\n")
	j.write("stand-ins/torch/__init__.py", "")
	j.write("stand-ins/torch/distributed/__init__.py", "")
	j.write("stand-ins/torch/distributed/run.py", dump)
	j.write("bin/mpirun", "#!/bin/sh\nexec python3 "+filepath.Join(j.root, "code/train.py")+" \"$@\"\n")
	if err := os.Chmod(filepath.Join(j.root, "bin/mpirun"), 0o755); err != nil {
		j.t.Fatal(err)
	}
	j.environ = append(j.environ, "DUMP_ROOT="+j.root, "PYTHONPATH="+filepath.Join(j.root, "stand-ins"),
		"PATH="+filepath.Join(j.root, "bin")+":"+os.Getenv("PATH"))
}

func (j *job) dumped() dumped {
	j.t.Helper()
	j.must()
	var d dumped
	text := strings.ReplaceAll(j.read("dump.json"), j.root, "ROOT")
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		j.t.Fatal(err)
	}
	return d
}

// oracleCase is one file of testdata/oracle; regenerate.py there says how the expected half
// was got from the public toolkit.
type oracleCase struct {
	Given struct {
		Hyperparameters, ResourceConfig, InputDataConfig json.RawMessage
		Environment                                      map[string]string
	}
	Expected struct {
		Arguments []string
		Variables map[string]string
	}
}

// TestSameAsThePublicToolkit compares the arguments and the variables with those that the
// sagemaker-training package makes of the same files.
func TestSameAsThePublicToolkit(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/oracle/*.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".json"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var test oracleCase
			if err := json.Unmarshal(text, &test); err != nil {
				t.Fatal(err)
			}
			j := newJob(t, nil, nil)
			j.environ = []string{"STINT_NUM_CPUS=4"}
			j.configure("hyperparameters", test.Given.Hyperparameters)
			j.configure("resourceconfig", test.Given.ResourceConfig)
			j.configure("inputdataconfig", test.Given.InputDataConfig)
			j.dumpEverywhere()
			for name, value := range test.Given.Environment {
				j.environ = append(j.environ, name+"="+value)
			}
			got, want := j.dumped(), test.Expected
			if tail := len(got.Argv) - len(want.Arguments); tail < 1 || !slices.Equal(got.Argv[tail:], want.Arguments) {
				t.Errorf("arguments\n got %q\nwant … %q", got.Argv, want.Arguments)
			}
			compareVariables(t, got.Environ, want.Variables)
		})
	}
}

func compareVariables(t *testing.T, got, want map[string]string) {
	t.Helper()
	// Set by the framework images besides, so no part of the toolkit's answer.
	images := []string{"SM_INPUT", "SM_INPUT_TRAINING_CONFIG_FILE", "SM_INPUT_DATA_CONFIG_FILE", "SM_CHECKPOINT_CONFIG_FILE"}
	for name, value := range want {
		if present, ok := got[name]; !ok || present != value {
			t.Errorf("%s\n got %q (set: %t)\nwant %q", name, present, ok, value)
		}
	}
	for name, value := range got {
		if _, ok := want[name]; !ok && strings.HasPrefix(name, "SM_") && !slices.Contains(images, name) {
			t.Errorf("%s=%q: the toolkit does not set it", name, value)
		}
	}
}

// TestDistributedCommands checks the launchers' own arguments.
func TestDistributedCommands(t *testing.T) {
	t.Parallel()
	two := map[string]any{"current_host": "algo-2", "hosts": []string{"algo-1", "algo-2"}}
	one := map[string]any{"current_host": "algo-1", "hosts": []string{"algo-1"}}
	for name, test := range map[string]struct {
		hyperparameters map[string]any
		resources       map[string]any
		want            string // PORT stands for the job's port
	}{
		"torchrun on one host": {
			map[string]any{"sagemaker_torch_distributed_enabled": "true", "x": "1"}, one,
			"ROOT/stand-ins/torch/distributed/run.py --nnodes 1 --nproc_per_node 1 --master_port PORT train.py -x 1",
		},
		"torchrun on two hosts": {
			map[string]any{"sagemaker_torch_distributed_enabled": "true"}, two,
			"ROOT/stand-ins/torch/distributed/run.py --nnodes 2 --nproc_per_node 1 --master_port PORT --master_addr algo-1 --node_rank 1 train.py",
		},
		"MPI": {
			map[string]any{
				"sagemaker_mpi_enabled": "true", "sagemaker_mpi_num_of_processes_per_host": "3",
				"sagemaker_mpi_custom_mpi_options": `"-x A='b c'"`, "x": "1",
			}, one,
			"ROOT/code/train.py --host localhost:3 -np 3 --allow-run-as-root --tag-output -x A=b c PYTHON -m mpi4py train.py -x 1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.hyperparameters["sagemaker_program"] = "train.py"
			j := newJob(t, test.hyperparameters, nil)
			j.configure("resourceconfig", test.resources)
			j.dumpEverywhere()
			d := j.dumped()
			got := strings.Join(d.Argv, " ")
			want := strings.NewReplacer("PORT", d.Environ["MASTER_PORT"], "PYTHON", j.python).Replace(test.want)
			if got != want {
				t.Errorf("\n got %s\nwant %s", got, want)
			}
			if d.Environ["MASTER_ADDR"] != "algo-1" || d.Environ["MASTER_PORT"] == "" {
				t.Errorf("rendezvous at %q:%q", d.Environ["MASTER_ADDR"], d.Environ["MASTER_PORT"])
			}
		})
	}
}
