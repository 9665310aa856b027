// Command models measures what many models behind one endpoint cost: a request for a model that is loaded, in turn with one at an
// endpoint that has the same model alone, and the first request for a model that has to be fetched and loaded.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/stint-ml/stint/bench/rig"
	"github.com/stint-ml/stint/cmd/stint/client"
	"github.com/stint-ml/stint/cmd/stint/server"
	"github.com/stint-ml/stint/drivers/blobs/s3"
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
	runtimes := flag.String("runtimes", "", "`FOLDER` of the installed runtimes")
	rounds := flag.Int("rounds", 5000, "how many requests are measured of each kind")
	cold := flag.Int("cold", 30, "how many models are asked for the first time")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *runtimes, *rounds, *cold); err != nil {
		fmt.Fprintln(os.Stderr, "models:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, runtimes string, rounds, cold int) error {
	work, err := rig.WorkFolder("models")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work) //nolint:errcheck // what is left is only disk
	report, err := rig.NewReport("models", work)
	if err != nil {
		return err
	}
	home := filepath.Join(work, "home")
	if err := errors.Join(os.MkdirAll(home, 0o711), os.Symlink(runtimes, server.Home(home).Runtimes())); err != nil {
		return err
	}
	b := &bench{}
	if b.stint, err = rig.StartServer(ctx, home); err != nil {
		return err
	}
	defer b.stint.Discard()
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
	return report.Finish()
}

// bench is one run.
type bench struct{ stint *rig.Server }

// prepare puts the models into the object store and brings both endpoints up.
func (b *bench) prepare(ctx context.Context, cold int) error {
	archive, err := pack()
	if err != nil {
		return err
	}
	if err := b.stint.Client.EnsureBucket(ctx, bucket); err != nil {
		return err
	}
	blobs, err := s3.New(s3.Config{
		Endpoint: b.stint.S3, Region: b.stint.Site.Region,
		Credentials: s3.Fixed(s3.Credentials{AccessKeyID: b.stint.Keys.AccessKeyID, SecretAccessKey: b.stint.Keys.SecretAccessKey}),
	})
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

// pack makes a model's archive.
func pack() ([]byte, error) {
	text, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	var archive bytes.Buffer
	zipped := gzip.NewWriter(&archive)
	packed := tar.NewWriter(zipped)
	err = packed.WriteHeader(&tar.Header{Name: "code/inference.py", Mode: 0o644, Size: int64(len(text))})
	_, writeErr := packed.Write(text)
	err = errors.Join(err, writeErr, packed.Close(), zipped.Close())
	return archive.Bytes(), err
}

// deploy makes an endpoint and waits until it is in service.
func (b *bench) deploy(ctx context.Context, name string, container sagemaker.ContainerDefinition) error {
	c, role := b.stint.Client, "arn:aws:iam::"+b.stint.Site.Account+":role/StintExecutionRole"
	container.Image = new(image)
	err := c.CreateModel(ctx, &sagemaker.CreateModelInput{ModelName: &name, ExecutionRoleArn: &role, PrimaryContainer: &container})
	if err == nil {
		err = c.CreateEndpointConfig(ctx, &sagemaker.CreateEndpointConfigInput{EndpointConfigName: &name, ProductionVariants: []sagemaker.ProductionVariant{{
			VariantName: new("AllTraffic"), ModelName: &name, InitialInstanceCount: new(int32(1)), InstanceType: new(sagemaker.ProductionVariantInstanceType("ml.m5.large")),
		}}})
	}
	if err == nil {
		err = c.CreateEndpoint(ctx, &sagemaker.CreateEndpointInput{EndpointName: &name, EndpointConfigName: &name})
	}
	if err != nil {
		return err
	}
	return rig.Eventually(ctx, limit, name+" to be in service", func() (bool, error) {
		d, err := c.DescribeEndpoint(ctx, name)
		if err == nil && *d.EndpointStatus == sagemaker.EndpointStatusFailed {
			err = errors.New(*d.FailureReason)
		}
		return err == nil && *d.EndpointStatus == sagemaker.EndpointStatusInService, err
	})
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
	began := time.Now()
	answer, err := b.stint.Client.Invoke(ctx, client.Invocation{Endpoint: endpoint, Model: model, ContentType: "application/json", Body: []byte(question)})
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return time.Since(began), errors.Join(err, answer.Body.Close())
}
