// Command async measures asynchronous inference: what an invocation takes, one at a time, beside a model that only echoes, from the call
// until its answer is in the object store; how many invocations are let in a second; and how fast a queue is worked off.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stint-ml/stint/bench/rig"
	"github.com/stint-ml/stint/cmd/stint/client"
	"github.com/stint-ml/stint/cmd/stint/server"
	"github.com/stint-ml/stint/drivers/blobs/s3"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

const (
	bucket      = "bench"
	endpoint    = "later"
	concurrency = 16 // invocations that the container has at once
	callers     = 16
	limit       = 10 * time.Minute
)

func main() {
	alone := flag.Int("alone", 200, "invocations one at a time")
	queue := flag.Int("queue", 10_000, "invocations in the queue")
	worker := flag.Bool("worker", false, "be the model")
	flag.Parse()
	if *worker {
		rig.Main("async", func(context.Context) error { return work() })
		return
	}
	rig.Measure("async", func(ctx context.Context, folder string, report *rig.Report) error {
		return run(ctx, folder, report, *alone, *queue)
	})
}

// bench is one run.
type bench struct {
	stint *rig.Server
	blobs *s3.Blobs
	out   string // the folder in which answers appear: objects are files
}

func run(ctx context.Context, folder string, report *rig.Report, alone, queue int) error {
	home := filepath.Join(folder, "home")
	stint, err := rig.StartServer(ctx, home)
	if err != nil {
		return err
	}
	defer stint.Discard()
	b := &bench{stint: stint, out: filepath.Join(server.Home(home).Objects(), "objects", bucket, "out")}
	if err := b.deploy(ctx); err != nil {
		return err
	}
	// 1. One at a time.
	took, err := b.alone(ctx, alone)
	if err != nil {
		return err
	}
	report.Row("call → answer in the object store, one at a time", "", took.Percentiles50And99(), "", nil)
	report.Details["alone"] = took.Summary()
	// 2. A queue, which waits until all of it is there.
	if err := b.queue(ctx, queue, report); err != nil {
		return err
	}
	report.Note("the model echoes, in a container that has %d invocations at once; inputs of 1 KB in the object store; %d callers", concurrency, callers)
	return nil
}

// deploy brings the endpoint up.
func (b *bench) deploy(ctx context.Context) error {
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	archive, err := rig.Pack(map[string][]byte{"serve": []byte("#!/bin/sh\nexec /opt/ml/model/worker -worker\n"), "worker": program})
	if err != nil {
		return err
	}
	if b.blobs, err = b.stint.Blobs(); err != nil {
		return err
	}
	c, model, input, out := b.stint.Client, "s3://"+bucket+"/model.tar.gz", platform.URI("s3://"+bucket+"/in"), "s3://"+bucket+"/out"
	for _, do := range []func() error{
		func() error { return c.EnsureBucket(ctx, bucket) },
		func() error { return b.blobs.Upload(ctx, platform.URI(model), bytes.NewReader(archive)) },
		func() error { return b.blobs.Upload(ctx, input, strings.NewReader(strings.Repeat("x", 1000))) },
		func() error {
			return b.stint.CreateModel(ctx, endpoint, sagemaker.ContainerDefinition{Image: new("stint/exec:latest"), ModelDataUrl: &model})
		},
		func() error {
			return c.CreateEndpointConfig(ctx, &sagemaker.CreateEndpointConfigInput{
				EndpointConfigName: new(endpoint), ProductionVariants: []sagemaker.ProductionVariant{rig.OneInstance(endpoint)},
				AsyncInferenceConfig: &sagemaker.AsyncInferenceConfig{
					ClientConfig: &sagemaker.AsyncInferenceClientConfig{MaxConcurrentInvocationsPerInstance: new(int32(concurrency))},
					OutputConfig: &sagemaker.AsyncInferenceOutputConfig{S3OutputPath: &out},
				},
			})
		},
	} {
		if err := do(); err != nil {
			return err
		}
	}
	_, err = b.stint.CreateEndpoint(ctx, endpoint, endpoint)
	return err
}

// ask asks for the answer to an object.
func (b *bench) ask(ctx context.Context, input string) (*client.Later, error) {
	return b.stint.Client.InvokeAsync(ctx, client.Invocation{Endpoint: endpoint, ContentType: "application/json"}, platform.URI("s3://"+bucket+"/"+input))
}

// alone asks so often, each time when the answer before is there. An answer is seen where its file appears, which disturbs nothing.
func (b *bench) alone(ctx context.Context, n int) (rig.Durations, error) {
	var took rig.Durations
	for range n {
		began := time.Now()
		later, err := b.ask(ctx, "in")
		if err != nil {
			return nil, err
		}
		file := filepath.Join(b.out, filepath.Base(later.Output))
		for {
			if _, err := os.Stat(file); err == nil {
				break
			}
			if time.Since(began) > limit {
				return nil, fmt.Errorf("no answer in %s", file)
			}
			if err := rig.Sleep(ctx, 100*time.Microsecond); err != nil {
				return nil, err
			}
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}

// queue lets the container wait until so many invocations are in the queue, and then work them off.
func (b *bench) queue(ctx context.Context, n int, report *rig.Report) error {
	open := make(chan struct{})
	gate := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-open }))
	defer gate.Close()
	if err := b.blobs.Upload(ctx, platform.URI("s3://"+bucket+"/held"), strings.NewReader(held+gate.URL)); err != nil {
		return err
	}
	for range concurrency {
		if _, err := b.ask(ctx, "held"); err != nil {
			return err
		}
	}
	before, err := os.ReadDir(b.out)
	if err != nil {
		return err
	}
	let, err := rig.Clients(ctx, callers, n, limit, func(int, int) error {
		_, err := b.ask(ctx, "in")
		return err
	})
	if err != nil {
		return err
	}
	report.Row(fmt.Sprintf("invocations let in a second, %d callers", callers), "", fmt.Sprintf("%.0f/s, %s", let.Rate(), let.Took.Percentiles50And99()), "", nil)
	cpu, err := rig.CPU(b.stint.PID)
	if err != nil {
		return err
	}
	began := time.Now()
	close(open)
	err = rig.Eventually(ctx, limit, "the queue to be worked off", func() (bool, error) {
		now, err := os.ReadDir(b.out)
		return len(now) >= len(before)+concurrency+n, err
	})
	if err != nil {
		return err
	}
	took := time.Since(began)
	after, err := rig.CPU(b.stint.PID)
	rate := float64(n) / took.Seconds()
	report.Row(fmt.Sprintf("invocations a second, of a queue of %d", n), "", fmt.Sprintf("%.0f/s, %.2f ms of processor each", rate, rig.Milliseconds(after-cpu)/float64(n)), "", nil)
	report.Details["queue"] = map[string]any{"invocations": n, "seconds": took.Seconds(), "per_second": rate, "let_in_per_second": let.Rate()}
	return err
}
