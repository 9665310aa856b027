package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/stint-ml/stint/bench/rig"
)

// idle opens connections, asks once on each, and looks at what the server keeps while they idle.
func (b *bench) idle(ctx context.Context) error {
	before, err := rig.MemoryOf(b.stint.PID)
	if err != nil {
		return err
	}
	request, err := b.signed("fast", "invocations")
	if err != nil {
		return err
	}
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for range idleClients {
		c, err := net.Dial("tcp", b.stintAddress())
		if err != nil {
			return fmt.Errorf("connection %d (ulimit -n bounds both sides): %w", len(open)+1, err)
		}
		open = append(open, c)
		if _, err := ask(c, request); err != nil {
			return fmt.Errorf("connection %d: %w", len(open), err)
		}
	}
	now, err := rig.MemoryOf(b.stint.PID)
	if err != nil {
		return err
	}
	if err := rig.Sleep(ctx, 20*time.Second); err != nil { // the collector may give some back
		return err
	}
	later, err := rig.MemoryOf(b.stint.PID)
	if err != nil {
		return err
	}
	held := max(now.Resident, later.Resident) <= idleTarget
	b.report.Row("10,000 idle keep-alive clients, server's memory", "≤ 300 MB",
		fmt.Sprintf("%d MiB; %d MiB 20 s later; %d MiB before", now.Resident>>20, later.Resident>>20, before.Resident>>20), "", &held)
	return nil
}

// ask sends a request and reads its answer, which must be a success; it gives the length of its body.
func ask(c net.Conn, request []byte) (int64, error) {
	if _, err := c.Write(request); err != nil {
		return 0, err
	}
	answer, err := http.ReadResponse(bufio.NewReaderSize(c, 64<<10), nil)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	n, err := io.Copy(io.Discard, answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("the server answered %s", answer.Status)
	}
	return n, err
}

// stream takes a long answer in both forms and watches the server's memory meanwhile.
func (b *bench) stream(ctx context.Context) error {
	for _, path := range []string{"invocations", "invocations-response-stream"} {
		request, err := b.signed("fast", path, streamed, strconv.Itoa(streamedBytes))
		if err != nil {
			return err
		}
		c, err := net.Dial("tcp", b.stintAddress())
		if err != nil {
			return err
		}
		before, err := rig.MemoryOf(b.stint.PID)
		if err != nil {
			return err
		}
		watching, done := context.WithCancel(ctx)
		peak := make(chan int64)
		go func() { peak <- watch(watching, b.stint.PID) }()
		began := time.Now()
		n, err := ask(c, request)
		took := time.Since(began)
		done()
		most := <-peak
		c.Close()
		if err == nil && n < streamedBytes {
			err = fmt.Errorf("only %d bytes came", n)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		grown := most - before.Resident
		held := grown <= streamTarget
		b.report.Row("1 GiB streamed by "+path+", the server grows by", "flat (≤ 64 MiB)",
			fmt.Sprintf("%.1f MiB, at %.0f MiB/s", float64(grown)/(1<<20), float64(n)/(1<<20)/took.Seconds()), "", &held)
	}
	return nil
}

// watch is the most that a process kept until ctx ended.
func watch(ctx context.Context, pid int) (most int64) {
	for ctx.Err() == nil {
		if m, err := rig.MemoryOf(pid); err == nil {
			most = max(most, m.Resident)
		}
		_ = rig.Sleep(ctx, 20*time.Millisecond) // ends with ctx
	}
	return most
}

// sample is how the server stands at a moment of the soak.
type sample struct {
	At         string
	Goroutines int
	Heap       int64 // live after the last collection, as the collector counts
	Resident   int64
}

// soakFor keeps the server at work, with capture on one of two endpoints, and sees that nothing of it grows.
func (b *bench) soakFor(ctx context.Context) error {
	began, errs := time.Now(), make(chan error, 2)
	for _, endpoint := range []string{"fast", captured} {
		go func() { errs <- b.keepAtWork(ctx, endpoint, began.Add(b.soak)) }()
	}
	var samples []sample
	for left := 2; left > 0; {
		select {
		case err := <-errs:
			if err != nil {
				return err
			}
			left--
		case <-time.After(max(b.soak/30, time.Second)):
			s, err := b.sample()
			if err != nil {
				return err
			}
			s.At = time.Since(began).Round(time.Second).String()
			samples = append(samples, s)
		}
	}
	if len(samples) < 6 {
		return fmt.Errorf("a soak of %v is too short", b.soak)
	}
	b.tellSoak(samples)
	return nil
}

// keepAtWork asks an endpoint until a time. Requests are signed anew now and then, before their signature is too old.
func (b *bench) keepAtWork(ctx context.Context, endpoint string, until time.Time) error {
	for time.Now().Before(until) && ctx.Err() == nil {
		request, err := b.signed(endpoint, "invocations")
		if err != nil {
			return err
		}
		if _, err := (load{b.stintAddress(), request, calmClients, calmRate / 2, min(time.Until(until), time.Minute)}).run(ctx); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

func (b *bench) tellSoak(samples []sample) {
	third := len(samples) / 3 // what comes first is warming up
	was, is := least(samples[third:2*third]), least(samples[2*third:])
	steady := is.Goroutines <= was.Goroutines+5 && is.Heap <= was.Heap+was.Heap/10+1<<20 && is.Resident <= was.Resident+was.Resident/10
	b.report.Details["soak"] = samples
	b.report.Row(fmt.Sprintf("soak of %v at 1,000/s, half of them captured", b.soak), "no growth",
		fmt.Sprintf("goroutines %d → %d, heap %.1f → %.1f MiB, resident %d → %d MiB", was.Goroutines, is.Goroutines,
			float64(was.Heap)/(1<<20), float64(is.Heap)/(1<<20), was.Resident>>20, is.Resident>>20), "", &steady)
	b.report.Note("soak: the least of the second third → of the last third; a leak raises the least, a collector's saw does not")
}

// least takes the least of each figure.
func least(samples []sample) sample {
	out := samples[0]
	for _, s := range samples {
		out.Goroutines, out.Heap, out.Resident = min(out.Goroutines, s.Goroutines), min(out.Heap, s.Heap), min(out.Resident, s.Resident)
	}
	return out
}

// sample reads the server's own page of metrics.
func (b *bench) sample() (s sample, err error) {
	answer, err := http.Get(b.stint.Endpoint + "/metrics")
	if err != nil {
		return s, err
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		name, text, _ := strings.Cut(lines.Text(), " ")
		value, err := strconv.ParseFloat(text, 64)
		switch {
		case err != nil:
		case name == "go_goroutines":
			s.Goroutines = int(value)
		case name == "go_memstats_heap_alloc_bytes":
			s.Heap = int64(value)
		case name == "process_resident_memory_bytes":
			s.Resident = int64(value)
		}
	}
	return s, lines.Err()
}
