// Command router measures what Stint adds to a call of a model's container, beside nginx as a reverse proxy before the very same
// container: how much later an answer comes at 1,000 requests a second, how many requests a second there can be, what a request
// costs the proxy in processor time, with data capture and without. And what it keeps in memory: for connections that idle, for
// a long stream, over a soak.
//
// Containers are one that costs next to nothing and Stint's Python model server. Every request to Stint is signed, and
// verified by it; as the client shares the machine, it signs once and sends the same bytes.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stint-ml/stint/bench/rig"
)

const (
	calmRate      = 1000 // requests a second that nobody is short of
	calmClients   = 64
	busyClients   = 32
	answersWithin = 10 * time.Second
	medianTarget  = 100 * time.Microsecond
	tailTarget    = 500 * time.Microsecond
	rateTarget    = 0.70 // of nginx's
	captureTarget = 0.10 // fewer requests a second
	idleTarget    = 300 << 20
	idleClients   = 10_000
	streamedBytes = 1 << 30
	streamTarget  = 64 << 20   // growth of the server meanwhile
	captured      = "captured" // the endpoint whose every request is captured
)

// options are what a run measures.
type options struct {
	python  string
	each    time.Duration
	rounds  int
	soak    time.Duration
	only    string
	profile string
}

func main() {
	if slices.Contains(os.Args[1:], "-worker") {
		rig.Main("router: worker", func(context.Context) error { return work() })
		return
	}
	var o options
	flag.StringVar(&o.python, "python", "", "`INTERPRETER` with the Python peers' packages")
	flag.DurationVar(&o.each, "each", 5*time.Second, "`TIME` of each measurement")
	flag.IntVar(&o.rounds, "rounds", 3, "`ROUNDS`, of which the median counts")
	flag.DurationVar(&o.soak, "soak", 3*time.Minute, "`TIME` of the soak")
	flag.StringVar(&o.only, "only", "speed,idle,stream,soak", "`PARTS` to run; besides, there are capture, which is data capture alone, and load and loadcaptured, which keep Stint alone at work, for a profile")
	flag.StringVar(&o.profile, "profile", "", "`FILE` for a profile of the server's processor time during load or loadcaptured, for as long as -each")
	flag.Parse()
	rig.Measure("router", o.run)
}

func (o options) run(ctx context.Context, folder string, report *rig.Report) error {
	home := filepath.Join(folder, "stint")
	if _, err := rig.UseRuntimes(home); err != nil {
		return err
	}
	stint, err := rig.StartServer(ctx, home)
	if err != nil {
		return err
	}
	defer stint.Discard()
	b := &bench{options: o, report: report, stint: stint, folder: folder}
	if err := b.deploy(ctx); err != nil {
		return err
	}
	defer b.stop()
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{{"speed", b.speed}, {"capture", b.capture}, {"load", b.load}, {"loadcaptured", b.loadCaptured}, {"idle", b.idle}, {"stream", b.stream}, {"soak", b.soakFor}} {
		if !slices.Contains(strings.Split(o.only, ","), part.name) {
			continue
		}
		fmt.Println("==>", part.name)
		if err := part.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// bench is a run.
type bench struct {
	options
	report  *rig.Report
	stint   *rig.Server
	folder  string
	workers []*worker
	nginx   *nginx
	before  map[string]string // nginx's addresses by worker
	peer    *peer             // a Python server; nil without an interpreter for it
}

// deploy brings up all that is measured.
func (b *bench) deploy(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	program, err := os.ReadFile(self)
	if err != nil {
		return err
	}
	model, err := os.ReadFile(filepath.Join("bench", "serve", "peers", "inference.py"))
	if err != nil {
		return err
	}
	fast := map[string][]byte{"serve": []byte("#!/bin/sh\nexec /opt/ml/model/worker -worker\n"), "worker": program}
	for _, d := range []struct {
		name, runtime string
		files         map[string][]byte
	}{{"fast", "exec", fast}, {"python", "python", map[string][]byte{"code/inference.py": model}}} {
		fmt.Println("==> deploying", d.name)
		w, err := deploy(ctx, b.stint, d.name, d.runtime, d.files, "--instance", instance)
		if err != nil {
			return err
		}
		b.workers = append(b.workers, w)
	}
	if err := deployCaptured(ctx, b.stint, "fast"); err != nil {
		return err
	}
	if b.nginx, b.before, err = startNginx(ctx, b.folder, b.workers); err != nil {
		return err
	}
	if b.python != "" {
		b.peer, err = startPeer(ctx, b.python)
	}
	return err
}

func (b *bench) stop() {
	if b.nginx != nil {
		b.nginx.stop()
	}
	if b.peer != nil {
		b.peer.stop()
	}
}

// freeAddress is a port of this machine that is free now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func listens(address string) bool {
	c, err := net.Dial("tcp", address)
	if err == nil {
		c.Close()
	}
	return err == nil
}
