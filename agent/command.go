package agent

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/stint-ml/stint/platform"
)

// systemPath is where programs are looked for after the runtime's own folder.
const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// command is what is to be run.
type command struct {
	path string // of the program
	args []string
	env  []string
	dir  string
	view func() error // called on the thread that starts it; nil: nothing is to be done
}

// command works out the user's command: the request's own, or the runtime's entry.
func (a *agent) command() (command, error) {
	algorithm, runtime := a.spec.AlgorithmSpecification, a.job.Runtime
	if len(algorithm.ContainerEntrypoint)+len(algorithm.ContainerArguments)+len(runtime.Entry) == 0 {
		return command{}, clientError(runtime.Name, "runtime %q has no entry; give the job a ContainerEntrypoint, or the runtime an entry", runtime.Name)
	}
	if a.Prepare != nil {
		notes, err := a.Prepare(a.runtimeFiles()...)
		if err != nil {
			return command{}, err
		}
		for _, note := range notes {
			a.warn(note)
		}
	}
	python, err := a.python()
	if err != nil {
		return command{}, err
	}
	words := slices.Clone(algorithm.ContainerEntrypoint)
	if len(words) == 0 {
		for _, word := range runtime.Entry {
			words = append(words, strings.NewReplacer("{python}", python.interpreter, "{shim}", a.Shim).Replace(word))
		}
	}
	words = append(words, algorithm.ContainerArguments...)
	c := command{args: words, dir: "/"}
	if info, err := os.Stat(filepath.Join(a.Root, codeFolder)); err == nil && info.IsDir() {
		c.dir = filepath.Join(a.Root, codeFolder)
	}
	if c.path, err = findProgram(words[0], python.path, c.dir); err != nil {
		return command{}, err
	}
	c.env, c.view = a.environment(python.path), a.view
	return c, nil
}

// runtimeFiles are the files that the operator's table names for this runtime. What the request names is not among them: it
// sees no more of the machine than its user may.
func (a *agent) runtimeFiles() []string {
	var files []string
	for _, word := range append([]string{a.job.Runtime.Interpreter, a.Shim}, a.job.Runtime.Entry...) {
		if filepath.IsAbs(word) {
			files = append(files, word)
		}
	}
	return files
}

// findProgram finds an executable as a shell would in dir with the given PATH.
func findProgram(name, path, dir string) (string, error) {
	candidates := []string{name}
	if !strings.Contains(name, "/") {
		candidates = nil
		for _, folder := range filepath.SplitList(path) {
			candidates = append(candidates, filepath.Join(folder, name))
		}
	}
	for _, c := range candidates {
		if !filepath.IsAbs(c) {
			c = filepath.Join(dir, c)
		}
		if info, err := os.Stat(c); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return c, nil
		}
	}
	if len(candidates) == 1 {
		return "", clientError(name, "the training command %q does not exist or cannot be executed", name)
	}
	return "", clientError(name, "the training command %q was not found in %s", name, path)
}

// environment is all that the user's process gets: nothing of the agent's own leaks into it. What comes later wins.
func (a *agent) environment(path string) []string {
	job := a.job
	home := filepath.Join(a.Root, homeFolder)
	layers := []map[string]string{{
		"PATH": path, "HOME": home, "TMPDIR": "/tmp", "LANG": "C.UTF-8",
		"TRAINING_JOB_NAME": job.Name, "TRAINING_JOB_ARN": string(job.ARN),
		"CURRENT_HOST": job.Host, "SM_CURRENT_HOST": job.Host, "STINT_NUM_CPUS": strconv.Itoa(job.CPUs),
		"AWS_REGION": job.Site.Region, "AWS_DEFAULT_REGION": job.Site.Region, "SAGEMAKER_REGION": job.Site.Region,
		"AWS_ENDPOINT_URL": job.Endpoint, "AWS_ENDPOINT_URL_S3": job.S3, "S3_ENDPOINT_URL": job.S3,
		"AWS_ACCESS_KEY_ID": job.Session.ID, "AWS_SECRET_ACCESS_KEY": job.Session.Secret, "AWS_SESSION_TOKEN": job.Session.Token,
	}, a.spotVariables(), job.Runtime.Env, a.spec.Environment}
	if job.Runtime.Interpreter != "" {
		layers = append([]map[string]string{pythonVariables(job.Name)}, layers...)
	}
	merged := map[string]string{}
	for _, layer := range layers {
		for name, value := range layer {
			merged[name] = value
		}
	}
	var env []string
	for name, value := range merged {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env
}

// startError says why a program could not be started, naming what bars the way to it.
func (a *agent) startError(c command, err error) error {
	var unseen *viewError
	if errors.As(err, &unseen) {
		return platform.Errorf(platform.Internal, c.path, "give the container its own %s: %w", contractRoot, err)
	}
	if errors.Is(err, os.ErrPermission) {
		if barrier := a.barrier(c.path); barrier != "" {
			return clientError(c.path, "the training command %s cannot be started: user %d may not enter %s; install the runtime where every user can read it", c.path, a.User.UID, barrier)
		}
	}
	return clientError(c.path, "the training command %s cannot be started: %w", strings.Join(c.args, " "), err)
}

// barrier finds the outermost folder that the user's process may not enter, on the way to path or to what it leads to.
func (a *agent) barrier(path string) string {
	if a.User == nil {
		return ""
	}
	if found := a.closedAbove(path); found != "" {
		return found
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return ""
	}
	return a.closedAbove(real)
}

func (a *agent) closedAbove(path string) string {
	closed := ""
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err == nil && info.Mode()&0o001 == 0 {
			if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != a.User.UID {
				closed = dir
			}
		}
		if dir == "/" {
			return closed
		}
	}
}
