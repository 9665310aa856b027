// Command cold measures what the platform adds before a model answers: from CreateEndpoint until the endpoint is in service, and
// from a request at a serverless endpoint that has no instance until its answer. The model's own load is what its model server
// takes when it is started by hand with the same interpreter, in turn with the others.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/stint-ml/stint/bench/rig"
	"github.com/stint-ml/stint/cmd/stint/client"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
	"github.com/stint-ml/stint/shim"
)

const (
	createTarget = 1500 * time.Millisecond // over the model's own load
	wakeTarget   = 300 * time.Millisecond  // likewise
	warmTarget   = 50 * time.Millisecond
	image        = "sagemaker-scikit-learn:1.2-1"
	bucket       = "bench"
	limit        = time.Minute
	model        = "m"
	question     = "[[1, 2, 3, 4]]"
)

func main() {
	rounds := flag.Int("rounds", 20, "how often each is measured")
	flag.Parse()
	rig.Measure("cold", func(ctx context.Context, work string, report *rig.Report) error {
		return run(ctx, work, report, *rounds)
	})
}

// figures are what was measured.
type figures struct{ load, create, wake, warm rig.Durations }

func run(ctx context.Context, work string, report *rig.Report, rounds int) error {
	home := filepath.Join(work, "home")
	runtimes, err := rig.UseRuntimes(home)
	if err != nil {
		return err
	}
	b := &bench{python: filepath.Join(runtimes, "sklearn", "bin", "python"), work: work}
	if err := b.layOut(); err != nil {
		return err
	}
	if b.stint, err = rig.StartServer(ctx, home, "--serverless-keep", "1s"); err != nil {
		return err
	}
	defer b.stint.Discard()
	if err := b.upload(ctx); err != nil {
		return err
	}
	var f figures
	progress := rig.NewProgress("rounds")
	for i := range rounds {
		if err := b.round(ctx, i, &f); err != nil {
			return err
		}
		progress.At(i+1, rounds)
	}
	tell(report, f)
	return nil
}

func tell(report *rig.Report, f figures) {
	load := f.load.Percentile(50)
	for _, row := range []struct {
		what   string
		target time.Duration
		plus   time.Duration
		took   rig.Durations
	}{
		{"CreateEndpoint → InService", createTarget, load, f.create},
		{"request → answer, serverless from zero", wakeTarget, load, f.wake},
		{"request → answer, serverless with a kept instance", warmTarget, 0, f.warm},
	} {
		held := row.took.Percentile(50) <= row.target+row.plus
		target := fmt.Sprintf("≤ %d ms", row.target.Milliseconds())
		if row.plus > 0 {
			target += " + load"
		}
		report.Row(row.what, target, row.took.Percentiles50And99(), "model server by hand: "+f.load.Percentiles50And99(), &held)
	}
	report.Note("%d rounds; a linear model of scikit-learn; load: from the start of its model server by hand until it answers /ping", len(f.load))
	for name, d := range map[string]rig.Durations{"load": f.load, "create": f.create, "wake": f.wake, "warm": f.warm} {
		report.Details[name] = d.Summary()
	}
}

// bench is one run.
type bench struct {
	python, work string
	root         string // where the model server by hand finds the model
	stint        *rig.Server
}

// layOut makes the folders of the model server that is started by hand.
func (b *bench) layOut() error {
	b.root = filepath.Join(b.work, "ml")
	program, err := os.ReadFile("bench/cold/inference.py")
	if err != nil {
		return err
	}
	code := filepath.Join(b.root, "model", "code")
	return errors.Join(shim.Install(filepath.Join(b.work, "shim")), os.MkdirAll(code, 0o755), os.WriteFile(filepath.Join(code, "inference.py"), program, 0o644))
}

// upload puts the model into the object store, and makes the two configurations.
func (b *bench) upload(ctx context.Context) error {
	program, err := os.ReadFile("bench/cold/inference.py")
	if err != nil {
		return err
	}
	archive, err := rig.Pack(map[string][]byte{"code/inference.py": program})
	if err != nil {
		return err
	}
	if err := b.stint.Client.EnsureBucket(ctx, bucket); err != nil {
		return err
	}
	blobs, err := b.stint.Blobs()
	if err != nil {
		return err
	}
	defer blobs.Close() //nolint:errcheck // closes idle connections only
	uri := platform.URI("s3://" + bucket + "/model.tar.gz")
	if err := blobs.Upload(ctx, uri, bytes.NewReader(archive)); err != nil {
		return err
	}
	err = b.stint.CreateModel(ctx, model, sagemaker.ContainerDefinition{
		Image: new(image), ModelDataUrl: new(string(uri)), Environment: map[string]string{"SAGEMAKER_MODEL_SERVER_WORKERS": "1"},
	})
	return errors.Join(err, b.configure(ctx, "instance", rig.OneInstance(model)), b.configure(ctx, "serverless", sagemaker.ProductionVariant{
		VariantName: new("AllTraffic"), ModelName: new(model),
		ServerlessConfig: &sagemaker.ProductionVariantServerlessConfig{MemorySizeInMB: new(int32(2048)), MaxConcurrency: new(int32(1))},
	}))
}

func (b *bench) configure(ctx context.Context, name string, v sagemaker.ProductionVariant) error {
	return b.stint.Client.CreateEndpointConfig(ctx, &sagemaker.CreateEndpointConfigInput{EndpointConfigName: &name, ProductionVariants: []sagemaker.ProductionVariant{v}})
}

// round measures each once.
func (b *bench) round(ctx context.Context, number int, f *figures) error {
	took, err := b.byHand(ctx)
	if err != nil {
		return fmt.Errorf("the model server by hand: %w", err)
	}
	f.load = append(f.load, took)
	// 1. An endpoint on an instance.
	name := "e" + strconv.Itoa(number)
	if took, err = b.stint.CreateEndpoint(ctx, name, "instance"); err != nil {
		return err
	}
	f.create = append(f.create, took)
	if err := b.remove(ctx, name); err != nil {
		return err
	}
	// 2. A serverless one, which has to idle first.
	name = "s" + strconv.Itoa(number)
	if _, err := b.stint.CreateEndpoint(ctx, name, "serverless"); err != nil {
		return err
	}
	if err := rig.Eventually(ctx, limit, "the instance to be given back", func() (bool, error) { return b.stint.Agents() == 0, nil }); err != nil {
		return err
	}
	for _, into := range []*rig.Durations{&f.wake, &f.warm} {
		took, err := b.stint.Ask(ctx, client.Invocation{Endpoint: name, ContentType: "application/json", Body: []byte(question)})
		if err != nil {
			return err
		}
		*into = append(*into, took)
	}
	return b.remove(ctx, name)
}

// remove deletes an endpoint and waits until nothing of it is left to disturb the next.
func (b *bench) remove(ctx context.Context, name string) error {
	if err := b.stint.Client.DeleteEndpoint(ctx, name); err != nil {
		return err
	}
	return rig.Eventually(ctx, limit, name+" to be gone", func() (bool, error) {
		_, err := b.stint.Client.DescribeEndpoint(ctx, name)
		return err != nil && b.stint.Agents() == 0, nil
	})
}

// byHand starts the model server alone and waits until it answers.
func (b *bench) byHand(ctx context.Context) (time.Duration, error) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	address := free.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	free.Close()
	cmd := exec.Command(b.python, filepath.Join(b.work, "shim", shim.ServeProgram), "--framework", "sklearn", "--root", b.root)
	cmd.Env = append(rig.CleanEnvironment(), "SAGEMAKER_BIND_TO_PORT="+port, "SAGEMAKER_MODEL_SERVER_WORKERS=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait() // killed
	}()
	err = rig.Eventually(ctx, limit, "the model server", func() (bool, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/ping", nil)
		if err != nil {
			return false, err
		}
		r, err := http.DefaultClient.Do(request)
		if err != nil {
			return false, nil // it does not listen yet
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK, nil
	})
	return time.Since(began), err
}
