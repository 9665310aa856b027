// Command models measures what many models behind one endpoint cost: a request for a model that is loaded, in turn with one at an
// endpoint that has the same model alone, and the first request for a model that has to be fetched and loaded.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/stint-ml/stint/bench/rig"
	"github.com/stint-ml/stint/cmd/stint/client"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

const (
	image    = "sagemaker-scikit-learn:1.2-1"
	bucket   = "bench"
	program  = "bench/cold/inference.py" // a model of the usual kind
	limit    = time.Minute
	question = "[[1, 2, 3, 4]]"
	warm     = 200 // requests that are not measured
)

func main() {
	rounds := flag.Int("rounds", 5000, "how many requests are measured of each kind")
	cold := flag.Int("cold", 30, "how many models are asked for the first time")
	flag.Parse()
	rig.Measure("models", func(ctx context.Context, work string, report *rig.Report) error {
		return run(ctx, work, report, *rounds, *cold)
	})
}

func run(ctx context.Context, work string, report *rig.Report, rounds, cold int) error {
	home := filepath.Join(work, "home")
	if _, err := rig.UseRuntimes(home); err != nil {
		return err
	}
	stint, err := rig.StartServer(ctx, home)
	if err != nil {
		return err
	}
	defer stint.Discard()
	b := &bench{stint}
	if err := b.prepare(ctx, cold); err != nil {
		return err
	}
	alone, many, err := b.loaded(ctx, rounds)
	if err != nil {
		return err
	}
	first, err := b.unloaded(ctx, cold)
	if err != nil {
		return err
	}
	report.Row("a request for a loaded model", "", many.Percentiles50And99(), "the model alone: "+alone.Percentiles50And99(), nil)
	report.Row("the first request for a model", "", first.Percentiles50And99(), "", nil)
	report.Note("%d requests of each kind in turn over one connection, signed; %d models asked for the first time; a linear model of scikit-learn, whose import is most of its load", rounds, cold)
	for name, d := range map[string]rig.Durations{"alone": alone, "many": many, "first": first} {
		report.Details[name] = d.Summary()
	}
	return nil
}

// bench is one run.
type bench struct{ stint *rig.Server }

// prepare puts the models into the object store and brings both endpoints up.
func (b *bench) prepare(ctx context.Context, cold int) error {
	text, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	archive, err := rig.Pack(map[string][]byte{"code/inference.py": text})
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
	for i := range cold + 1 {
		if err := blobs.Upload(ctx, platform.URI("s3://"+bucket+"/models/"+name(i)), bytes.NewReader(archive)); err != nil {
			return err
		}
	}
	multi := sagemaker.ContainerModeMultiModel
	return errors.Join(
		b.deploy(ctx, "alone", sagemaker.ContainerDefinition{
			ModelDataUrl: new("s3://" + bucket + "/models/" + name(0)), Environment: map[string]string{"SAGEMAKER_MODEL_SERVER_WORKERS": "1"},
		}),
		b.deploy(ctx, "many", sagemaker.ContainerDefinition{Mode: &multi, ModelDataUrl: new("s3://" + bucket + "/models/")}),
	)
}

func name(i int) string { return fmt.Sprintf("model-%d.tar.gz", i) }

// deploy makes an endpoint and waits until it is in service.
func (b *bench) deploy(ctx context.Context, name string, container sagemaker.ContainerDefinition) error {
	container.Image = new(image)
	err := b.stint.CreateModel(ctx, name, container)
	if err == nil {
		err = b.stint.Client.CreateEndpointConfig(ctx, &sagemaker.CreateEndpointConfigInput{
			EndpointConfigName: &name, ProductionVariants: []sagemaker.ProductionVariant{rig.OneInstance(name)},
		})
	}
	if err == nil {
		_, err = b.stint.CreateEndpoint(ctx, name, name)
	}
	return err
}

// loaded asks both endpoints in turn for models that are loaded.
func (b *bench) loaded(ctx context.Context, rounds int) (alone, many rig.Durations, err error) {
	progress := rig.NewProgress("requests")
	for i := range rounds + warm {
		one, err := b.ask(ctx, "alone", "")
		if err != nil {
			return nil, nil, err
		}
		other, err := b.ask(ctx, "many", name(0))
		if err != nil {
			return nil, nil, err
		}
		if i >= warm {
			alone, many = append(alone, one), append(many, other)
		}
		if i%100 == 0 {
			progress.At(i, rounds+warm)
		}
	}
	return alone, many, nil
}

// unloaded asks for one model after the other for the first time.
func (b *bench) unloaded(ctx context.Context, cold int) (first rig.Durations, err error) {
	for i := range cold {
		took, err := b.ask(ctx, "many", name(i+1))
		if err != nil {
			return nil, err
		}
		first = append(first, took)
	}
	return first, nil
}

func (b *bench) ask(ctx context.Context, endpoint, model string) (time.Duration, error) {
	return b.stint.Ask(ctx, client.Invocation{Endpoint: endpoint, Model: model, ContentType: "application/json", Body: []byte(question)})
}
