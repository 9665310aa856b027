// Package shim holds the Python programs that run inside a job's own interpreter,
// carried in the binary.
//
// It plays the part that the framework containers' toolkits play: script mode for
// training, the model server for inference. Here live only programs for the standard library of Python 3.8 and later
// and the code that puts them on disk; fetching, shipping logs and deciding what a job
// may use are the agent's work, and nothing of ours is imported.
package shim

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// TrainProgram is the program of script mode, relative to the folder given to Install.
// Run it as
//
//	<interpreter> -S -E <folder>/train.py
//
// with the job's environment, as the job's user, in the job's /opt/ml, and read its
// result from its exit code and /opt/ml/output/failure. Signals meant for the user's
// code go to this process alone, which passes them on. -S and -E save half of the
// interpreter's start and keep the job's own PYTHON* variables from it; the user's
// interpreter gets them.
const TrainProgram = "train.py"

// ServeProgram is the model server, relative to the folder given to Install. Run it as
//
//	<interpreter> <folder>/serve.py [--framework sklearn|xgboost|pytorch|onnx]
//
// with the environment of the endpoint's container, as its user. The user's code runs in
// forks of this process, so it gets the interpreter with its site module and PYTHON*
// variables. It listens on SAGEMAKER_BIND_TO_PORT (8080) of STINT_BIND_ADDRESS
// (127.0.0.1) before it loads the model, answers GET /ping with 503 until that is done,
// ends with code 0 within STINT_DRAIN_SECONDS (25) of SIGTERM, and with code 1, having
// said why in /opt/ml/output/failure, when the model cannot be served.
const ServeProgram = "serve.py"

//go:embed *.py hook/*.py stintserve/*.py
var programs embed.FS

// Programs returns the programs as they must lie on disk: a folder whose files import
// each other.
func Programs() fs.FS { return programs }

// Install writes the programs into folder, which it makes when needed. Every file is
// replaced at once by rename, so jobs that are starting from the folder meanwhile see
// the old or the new program, never half of one. A file that is already right is left
// alone, so installing twice is harmless and keeps what Compile made. Jobs only read the
// folder: it must be visible and readable to their user, and writable to nobody else's.
func Install(folder string) error {
	return fs.WalkDir(programs, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("shim: %w", err)
		}
		target := filepath.Join(folder, path)
		if entry.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		text, err := programs.ReadFile(path)
		if err != nil {
			return fmt.Errorf("shim: %w", err)
		}
		if present, err := os.ReadFile(target); err == nil && bytes.Equal(present, text) {
			return nil
		}
		return replace(target, text)
	})
}

// replace gives the file at path the content text in one step.
func replace(path string, text []byte) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("shim: %w", err)
	}
	_, err = temporary.Write(text)
	err = errors.Join(err, temporary.Chmod(0o644), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("shim: %w", errors.Join(err, os.Remove(temporary.Name())))
	}
	return nil
}
