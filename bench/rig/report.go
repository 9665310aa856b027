package rig

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// Report is what a run has measured. The rows are for people and for docs/benchmarks.md; Details hold the rest.
type Report struct {
	Benchmark  string
	Began      time.Time
	Machine    Machine
	LoadBefore string // load averages over 1, 5 and 15 minutes before anything ran
	LoadAfter  string // the benchmark's own work included
	Rows       []Row
	Notes      []string
	Details    map[string]any
}

// Row is one figure. Verdict is "held", "MISSED", or empty when there is no target.
type Row struct{ Measure, Target, Stint, Peer, Verdict string }

// Machine is what the figures were measured on.
type Machine struct {
	CPU          string
	Cores        int
	MemoryGiB    int
	Kernel       string
	Go           string
	SyncMedianMs float64 // of appending 4 KiB to a file and syncing it, in the folder of the run
}

// NewReport notes the load before the work begins, and the speed of the disk that work is on.
func NewReport(benchmark, work string) (*Report, error) {
	r := &Report{Benchmark: benchmark, Began: time.Now().UTC().Truncate(time.Second), LoadBefore: load(), Details: map[string]any{}}
	fmt.Printf("==> %s: load average %s\n", benchmark, r.LoadBefore)
	r.Machine = Machine{CPU: cpuModel(), Cores: runtime.NumCPU(), Kernel: kernel(), Go: runtime.Version()}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return nil, err
	}
	r.Machine.MemoryGiB = int((info.Totalram*uint64(info.Unit) + 1<<29) >> 30)
	var err error
	r.Machine.SyncMedianMs, err = syncSpeed(work)
	return r, err
}

func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo") // a machine that does not say is "unknown"
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func kernel() string {
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}

func syncSpeed(folder string) (float64, error) {
	f, err := os.CreateTemp(folder, "sync-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // the folder goes at the end of the run
	defer f.Close()
	var took Durations
	for range 100 {
		began := time.Now()
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		took = append(took, time.Since(began))
	}
	return Milliseconds(took.Percentile(50)), nil
}

// Row adds a figure. held says whether the target was met; nil for a figure without one.
func (r *Report) Row(measure, target, stint, peer string, held *bool) {
	row := Row{Measure: measure, Target: target, Stint: stint, Peer: peer}
	switch {
	case held == nil:
	case *held:
		row.Verdict = "held"
	default:
		row.Verdict = "MISSED"
	}
	r.Rows = append(r.Rows, row)
}

// Note adds a remark that a reader of the figures must know.
func (r *Report) Note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// Finish prints the report and writes it below bench/results of the current folder, the repository's top.
func (r *Report) Finish() error {
	r.LoadAfter = load()
	fmt.Printf("\n%s, %s; %d × %s, %d GiB, Linux %s, %s, sync %.2f ms; load before %s, after %s\n\n", r.Benchmark, r.Began.Format(time.RFC3339),
		r.Machine.Cores, r.Machine.CPU, r.Machine.MemoryGiB, r.Machine.Kernel, r.Machine.Go, r.Machine.SyncMedianMs, r.LoadBefore, r.LoadAfter)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MEASURE\tTARGET\tSTINT\tPEER\t")
	for _, row := range r.Rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", row.Measure, row.Target, row.Stint, row.Peer, row.Verdict)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, note := range r.Notes {
		fmt.Println("  *", note)
	}
	doc, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	file := filepath.Join("bench", "results", r.Benchmark+"-"+r.Began.Format("20060102T150405Z")+".json")
	err = errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, append(doc, '\n'), 0o644))
	fmt.Println("\nwritten to", file)
	return err
}

// Durations is a sample of how long something took.
type Durations []time.Duration

// Percentile is the smallest duration that p percent of the sample do not exceed; 0 for an empty sample.
func (d Durations) Percentile(p int) time.Duration {
	if len(d) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(d))
	return sorted[max((len(sorted)*p+99)/100, 1)-1]
}

// Summary is the percentiles as milliseconds, for Details.
func (d Durations) Summary() map[string]any {
	return map[string]any{
		"count": len(d), "p50_ms": Milliseconds(d.Percentile(50)), "p90_ms": Milliseconds(d.Percentile(90)),
		"p99_ms": Milliseconds(d.Percentile(99)), "max_ms": Milliseconds(d.Percentile(100)),
	}
}

// Milliseconds are for people.
func Milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Percentiles50And99 is a cell of the table.
func (d Durations) Percentiles50And99() string {
	return fmt.Sprintf("p50 %.1f ms, p99 %.1f ms", Milliseconds(d.Percentile(50)), Milliseconds(d.Percentile(99)))
}

// Progress prints, now and then, how far a step is. It is safe for concurrent use.
type Progress struct {
	what string
	mu   sync.Mutex
	last time.Time
}

// NewProgress announces a step.
func NewProgress(format string, args ...any) *Progress {
	p := &Progress{what: fmt.Sprintf(format, args...), last: time.Now()}
	fmt.Println("==>", p.what)
	return p
}

// At says how much is done.
func (p *Progress) At(done, of int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.Sub(p.last) >= 5*time.Second {
		p.last = now
		fmt.Printf("    %s: %d of %d\n", p.what, done, of)
	}
}
