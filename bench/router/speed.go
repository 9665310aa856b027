package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/stint-ml/stint/bench/rig"
	"github.com/stint-ml/stint/wire/sigv4"
)

// question is 1 KB of JSON.
var question = []byte(`{"instances": ["` + strings.Repeat("What is the answer? ", 50) + `"]}`)

// way is one way to a container.
type way struct {
	name    string
	address string
	request func() ([]byte, error)
	own     func() []int // the processes that stand between; nil for none
	calm    []outcome    // a round each
	busy    []outcome
	each    []time.Duration // processor time of own for a busy request, a round each
	calmly  []time.Duration // for one at the calm rate
}

// plain is the request that a container gets.
func plain() ([]byte, error) {
	return fmt.Appendf(nil, "POST /invocations HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nAccept: application/json\r\nContent-Length: %d\r\n\r\n%s",
		len(question), question), nil
}

// signed is a request to an endpoint as an AWS SDK sends it.
func (b *bench) signed(endpoint, path string, header ...string) ([]byte, error) {
	r, err := http.NewRequest(http.MethodPost, b.stint.Endpoint+"/endpoints/"+endpoint+"/"+path, bytes.NewReader(question))
	if err != nil {
		return nil, err
	}
	header = append(header, "Content-Type", "application/json", "Accept", "application/json",
		"User-Agent", "Boto3/1.43 md/Botocore#1.43 ua/2.1 os/linux md/arch#x86_64 lang/python#3.11 md/pyimpl#CPython cfg/retry-mode#legacy",
		"Amz-Sdk-Invocation-Id", "0f24e2c8-3b7b-4f3e-9e10-2f5cc1f1a7a9", "Amz-Sdk-Request", "attempt=1")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if err := sigv4.Sign(r, b.stint.Keys, b.stint.Site.Region, "sagemaker", time.Now()); err != nil {
		return nil, err
	}
	var text bytes.Buffer
	fmt.Fprintf(&text, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", r.URL.Path, r.URL.Host, len(question))
	if err := r.Header.Write(&text); err != nil {
		return nil, err
	}
	text.WriteString("\r\n")
	text.Write(question)
	return text.Bytes(), nil
}

// stintAddress is its front door.
func (b *bench) stintAddress() string { return strings.TrimPrefix(b.stint.Endpoint, "http://") }

// ways are the ways to a container: directly, by nginx, by Stint.
func (b *bench) ways(w *worker) []*way {
	return []*way{
		{name: "direct", address: w.address, request: plain},
		{name: "nginx", address: b.before[w.name], request: plain, own: b.nginx.processes},
		{
			name: "Stint", address: b.stintAddress(), request: func() ([]byte, error) { return b.signed(w.name, "invocations") },
			own: func() []int { return []int{b.stint.PID} },
		},
	}
}

// speed measures every way to every container, the ways in turn; then Stint's with capture and without, in turn too.
func (b *bench) speed(ctx context.Context) error {
	for _, w := range b.workers {
		ways := b.ways(w)
		if err := b.inTurn(ctx, w.name, ways); err != nil {
			return err
		}
		b.tell(w.name, ways)
	}
	if err := b.capture(ctx); err != nil || b.peer == nil {
		return err
	}
	v := &way{name: "uvicorn + Starlette", address: b.peer.address, request: plain}
	if err := b.inTurn(ctx, "peer", []*way{v}); err != nil {
		return err
	}
	b.report.Row("Python server without a proxy: uvicorn + Starlette, echo", "", "", fmt.Sprintf("%s, %.0f/s", span(v.calm), rate(v)), nil)
	return nil
}

// capture measures Stint's way with capture and without, in turn.
func (b *bench) capture(ctx context.Context) error {
	on, off := b.ways(&worker{name: captured})[2], b.ways(b.workers[0])[2]
	on.name, off.name = "Stint, capture on", "Stint, capture off"
	if err := b.inTurn(ctx, "fast", []*way{on, off}); err != nil {
		return err
	}
	b.tellCapture(on, off)
	return nil
}

// inTurn measures ways, each once a round.
func (b *bench) inTurn(ctx context.Context, container string, ways []*way) error {
	for range b.rounds {
		for _, v := range ways {
			if err := v.measure(ctx, b.each); err != nil {
				return fmt.Errorf("%s, %s: %w", container, v.name, err)
			}
		}
	}
	for _, v := range ways {
		b.detail(container+", "+v.name, v)
	}
	return nil
}

// measure is one round of a way.
func (v *way) measure(ctx context.Context, each time.Duration) error {
	request, err := v.request()
	if err != nil {
		return err
	}
	if _, err := (load{v.address, request, busyClients, 0, time.Second / 2}).run(ctx); err != nil { // to warm up
		return err
	}
	for _, l := range []struct {
		load
		outcomes *[]outcome
		each     *[]time.Duration
	}{
		{load{v.address, request, calmClients, calmRate, each}, &v.calm, &v.calmly},
		{load{v.address, request, busyClients, 0, each}, &v.busy, &v.each},
	} {
		before, err := v.used()
		if err != nil {
			return err
		}
		o, err := l.run(ctx)
		if err != nil {
			return err
		}
		after, err := v.used()
		if err != nil {
			return err
		}
		*l.outcomes = append(*l.outcomes, o)
		*l.each = append(*l.each, (after-before)/time.Duration(max(1, len(o.took))))
	}
	fmt.Printf("    %-20s %s; %.0f/s, %d µs of CPU each\n", v.name, span(v.calm[len(v.calm)-1:]), v.busy[len(v.busy)-1].rate(), v.each[len(v.each)-1].Microseconds())
	return nil
}

// used is the processor time of what stands between.
func (v *way) used() (total time.Duration, err error) {
	if v.own == nil {
		return 0, nil
	}
	for _, pid := range v.own() {
		used, err := rig.CPU(pid)
		if err != nil {
			return 0, err
		}
		total += used
	}
	return total, nil
}

// The figures of a way are the medians of its rounds.

func percentile(rounds []outcome, p int) time.Duration {
	var all []time.Duration
	for _, o := range rounds {
		all = append(all, o.took.Percentile(p))
	}
	return median(all)
}

func rate(v *way) float64 {
	var all []float64
	for _, o := range v.busy {
		all = append(all, o.rate())
	}
	return median(all)
}

func median[T float64 | time.Duration](all []T) T {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

func span(rounds []outcome) string {
	return fmt.Sprintf("p50 %d µs, p99 %d µs", percentile(rounds, 50).Microseconds(), percentile(rounds, 99).Microseconds())
}

// client is the share of a core that this process takes for a load.
func client(rounds []outcome) float64 {
	var all []float64
	for _, o := range rounds {
		all = append(all, o.cpu.Seconds()/o.wall.Seconds())
	}
	return median(all)
}

// tell makes a container's rows.
func (b *bench) tell(container string, ways []*way) {
	direct, nginx, stint := ways[0], ways[1], ways[2]
	added := func(v *way, p int) time.Duration { return percentile(v.calm, p) - percentile(direct.calm, p) }
	median, tail := added(stint, 50), added(stint, 99)
	fast, steady := median <= medianTarget, tail <= tailTarget
	b.report.Row(container+": a direct call at 1,000/s", "", "", span(direct.calm), nil)
	b.report.Row(container+": added to it, p50", "≤ 100 µs", micros(median), "nginx "+micros(added(nginx, 50)), &fast)
	b.report.Row(container+": added to it, p99", "≤ 500 µs", micros(tail), "nginx "+micros(added(nginx, 99)), &steady)
	share := rate(stint) / rate(nginx)
	enough := share >= rateTarget
	b.report.Row(fmt.Sprintf("%s: %d clients, requests/s", container, busyClients), "≥ 70 % of nginx",
		fmt.Sprintf("%.0f, %.0f %%", rate(stint), 100*share), fmt.Sprintf("nginx %.0f, direct %.0f", rate(nginx), rate(direct)), &enough)
	b.report.Row(container+": CPU a request, the proxy alone", "", micros2(stint), "nginx "+micros2(nginx), nil)
	b.report.Note("%s: the client took %.0f %% of a core at 1,000/s, and with %d clients %.0f (direct), %.0f (nginx), %.0f %% (Stint)", container,
		100*client(stint.calm), busyClients, 100*client(direct.busy), 100*client(nginx.busy), 100*client(stint.busy))
}

// tellCapture makes the rows of data capture: the throughput that it costs, and the processor time.
func (b *bench) tellCapture(on, off *way) {
	costs := 1 - rate(on)/rate(off)
	held := costs <= captureTarget
	b.report.Row("fast: capture of every request, requests/s", "≤ 10 % less", fmt.Sprintf("%.0f for %.0f, %.1f %% less", rate(on), rate(off), 100*costs), "", &held)
	b.report.Row("fast: capture, CPU a request", "", fmt.Sprintf("%s for %s", micros2(on), micros2(off)), "", nil)
	b.report.Row("fast: capture, latency at 1,000/s", "", fmt.Sprintf("%s for %s", span(on.calm), span(off.calm)), "", nil)
}

func micros(d time.Duration) string { return fmt.Sprintf("%d µs", d.Microseconds()) }

func micros2(v *way) string {
	return fmt.Sprintf("%d µs busy, %d µs at 1,000/s", median(v.each).Microseconds(), median(v.calmly).Microseconds())
}

func (b *bench) detail(name string, v *way) {
	var rounds []map[string]any
	for i := range v.calm {
		rounds = append(rounds, map[string]any{
			"calm": v.calm[i].took.Summary(), "calm_p50_us": v.calm[i].took.Percentile(50).Microseconds(), "busy": v.busy[i].took.Summary(),
			"busy_per_second": v.busy[i].rate(), "cpu_us_busy": v.each[i].Microseconds(), "cpu_us_calm": v.calmly[i].Microseconds(),
			"client_cores_busy": client(v.busy[i : i+1]), "client_cores_calm": client(v.calm[i : i+1]),
		})
	}
	b.report.Details[name] = rounds
}

// load keeps Stint busy before the container that costs nothing.
func (b *bench) load(ctx context.Context) error { return b.keepBusy(ctx, "load", b.workers[0].name) }

// loadCaptured does it with data capture.
func (b *bench) loadCaptured(ctx context.Context) error {
	return b.keepBusy(ctx, "loadcaptured", captured)
}

func (b *bench) keepBusy(ctx context.Context, part, endpoint string) error {
	v := b.ways(&worker{name: endpoint})[2]
	profiled := make(chan error, 1)
	go func() { profiled <- b.writeProfile(ctx, 2*b.each) }()
	if err := errors.Join(v.measure(ctx, b.each), <-profiled); err != nil {
		return err
	}
	b.detail(part, v)
	b.report.Row(endpoint+": CPU a request", "", micros2(v), "", nil)
	return nil
}

// writeProfile writes down what the server uses the processor for.
func (b *bench) writeProfile(ctx context.Context, during time.Duration) error {
	if b.profile == "" {
		return nil
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/_stint/profile?seconds=%d", b.stint.Endpoint, int(during.Seconds())), nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	profile, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("the server answered %s: %s", answer.Status, profile)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(b.profile, profile, 0o600)
}
