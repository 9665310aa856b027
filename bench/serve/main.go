// Command serve measures what the model server adds to a model that costs nothing, beside the usual Python servers running the
// same handler on the same interpreter: how fast one connection is answered, how much one worker does, what it keeps in
// memory, and how soon it is there. The servers run one after the other; nothing of the platform runs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/stint-ml/stint/bench/rig"
	"github.com/stint-ml/stint/shim"
)

const (
	medianTarget = 100 * time.Microsecond
	rateTarget   = 8000 // requests a second of one worker, which is one process on one core
	manyClients  = 8
	starts       = 5
)

// figures are what was measured of one server.
type figures struct {
	ready  rig.Durations // from its start to its first answer to /ping
	alone  rig.Work      // one connection
	many   rig.Work      // manyClients of them
	cpu    time.Duration // processor time of a request, with many
	memory int64         // of all its processes, without the pages of files
}

func main() {
	python := flag.String("python", "", "`INTERPRETER` with the peers' packages")
	seconds := flag.Int("seconds", 5, "`SECONDS` of each measurement")
	flag.Parse()
	rig.Measure("serve", func(ctx context.Context, work string, report *rig.Report) error {
		return run(ctx, work, report, *python, time.Duration(*seconds)*time.Second)
	})
}

func run(ctx context.Context, work string, report *rig.Report, python string, each time.Duration) error {
	if python == "" {
		return errors.New("-python is missing; bench/serve/run.sh gives it")
	}
	servers, err := contestants(python, work)
	if err != nil {
		return err
	}
	all := map[string]figures{}
	for _, s := range servers {
		fmt.Println("==>", s.name)
		f, err := measure(ctx, s, each)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		all[s.name] = f
		report.Details[s.name] = map[string]any{
			"alone": f.alone.Took.Summary(), "many": f.many.Took.Summary(), "many_per_second": f.many.Rate(), "alone_per_second": f.alone.Rate(),
			"cpu_us": f.cpu.Microseconds(), "memory_bytes": f.memory, "ready": f.ready.Summary(),
		}
	}
	tell(report, servers, all)
	return nil
}

// tell makes the table: a row a peer and measure.
func tell(report *rig.Report, servers []contestant, all map[string]figures) {
	ours := all[servers[0].name]
	fast := ours.alone.Took.Percentile(50) <= medianTarget
	busy := ours.many.Rate() >= rateTarget
	for i, s := range servers[1:] {
		theirs := all[s.name]
		if s.workers > 1 {
			continue
		}
		var heldFast, heldBusy *bool
		if i == 0 {
			heldFast, heldBusy = &fast, &busy
		}
		report.Row("1 connection, 1 worker, beside "+s.name, "p50 ≤ 100 µs", micros(ours.alone.Took), micros(theirs.alone.Took), heldFast)
		report.Row(fmt.Sprintf("%d connections, 1 worker, beside %s", manyClients, s.name), "≥ 8,000/s", rate(ours), rate(theirs), heldBusy)
		report.Row("start → first /ping, beside "+s.name, "", milli(ours.ready), milli(theirs.ready), nil)
		report.Row("memory of 1 worker, beside "+s.name, "", mebi(ours.memory), mebi(theirs.memory), nil)
	}
	two := all[stintTwo]
	report.Row(fmt.Sprintf("%d connections, 2 workers", manyClients), "", rate(two), "", nil)
	report.Row("memory of 2 workers", "", mebi(two.memory), "", nil)
	report.Note("the handler answers 1 KB of JSON with itself, decoded and encoded; the load generator shares the cores with the server")
	report.Note("µs of CPU are of all processes of the server, a request, with %d connections", manyClients)
}

func micros(d rig.Durations) string {
	return fmt.Sprintf("p50 %d µs, p99 %d µs", d.Percentile(50).Microseconds(), d.Percentile(99).Microseconds())
}

func rate(f figures) string {
	return fmt.Sprintf("%.0f/s, %d µs of CPU", f.many.Rate(), f.cpu.Microseconds())
}

func milli(d rig.Durations) string { return fmt.Sprintf("%.0f ms", rig.Milliseconds(d.Percentile(50))) }

func mebi(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

// contestants are the servers, Stint's first.
func contestants(python, work string) ([]contestant, error) {
	peers, err := filepath.Abs("bench/serve/peers")
	if err != nil {
		return nil, err
	}
	programs := filepath.Join(work, "shim")
	root := filepath.Join(work, "ml")
	code := filepath.Join(root, "model", "code")
	program, err := os.ReadFile(filepath.Join(peers, "inference.py"))
	err = errors.Join(err, shim.Install(programs), os.MkdirAll(code, 0o755))
	if err == nil {
		err = os.WriteFile(filepath.Join(code, "inference.py"), program, 0o644)
	}
	stint := []string{python, filepath.Join(programs, shim.ServeProgram), "--root", root}
	env := func(workers string) []string {
		return []string{"SAGEMAKER_BIND_TO_PORT={port}", "SAGEMAKER_MODEL_SERVER_WORKERS=" + workers}
	}
	gunicorn := []string{python, "-m", "gunicorn", "--chdir", peers, "-b", "127.0.0.1:{port}", "-w", "1", "--keep-alive", "60"}
	return []contestant{
		{name: "Stint", command: stint, env: env("1"), workers: 1},
		{name: "http.server", command: []string{python, filepath.Join(peers, "plain.py"), "{port}"}, workers: 1},
		{name: "gunicorn gthread + Flask", command: append(gunicorn, "-k", "gthread", "--threads", "8", "flaskapp:app"), workers: 1},
		{name: "uvicorn + Starlette", command: []string{
			python, "-m", "uvicorn", "--app-dir", peers, "--port", "{port}", "--loop", "uvloop", "--http", "httptools", "--log-level", "warning", "--no-access-log", "asgi:app",
		}, workers: 1},
		{name: stintTwo, command: stint, env: env("2"), workers: 2},
	}, err
}
