package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/stint-ml/stint/cmd/stint/client"
	"github.com/stint-ml/stint/drivers/blobs/s3"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
	"github.com/stint-ml/stint/wire"
)

// checkAsyncPath refuses an asynchronous endpoint that cannot be.
func checkAsyncPath(f deployFlags) error {
	if f.async == "" {
		return nil
	}
	if _, _, err := platform.URI(f.async).Split(); err != nil {
		return usage("--async %s is no place in S3; it should look like s3://bucket/prefix", f.async)
	}
	if f.serverless.memory != "" {
		return usage("--async and --serverless are two ways to serve; give one of them")
	}
	return nil
}

// asyncConfig puts answers below a place, and what the model failed at beside them; nil without a place.
func asyncConfig(place string) *sagemaker.AsyncInferenceConfig {
	if place == "" {
		return nil
	}
	return &sagemaker.AsyncInferenceConfig{OutputConfig: &sagemaker.AsyncInferenceOutputConfig{
		S3OutputPath: &place, S3FailurePath: new(string(platform.URI(place).Join("failed"))),
	}}
}

// howToAskLater says what to do with an asynchronous endpoint.
func (a *app) howToAskLater(name string, e *describedEndpoint) {
	a.printRows([][2]string{
		{"ask", a.stint("invoke " + name + " --async --data '[[1, 2, 3]]'")},
		{"boto3", fmt.Sprintf(`boto3.client("sagemaker-runtime").invoke_endpoint_async(EndpointName=%q, InputLocation="s3://bucket/input.json", ContentType="application/json")`, name)},
		{"SDK", fmt.Sprintf(`sagemaker.predictor_async.AsyncPredictor(sagemaker.predictor.Predictor(%q))`, name)},
		{"end", a.stint("endpoint delete " + name)},
	}, e)
}

// invokeLater uploads what is asked, asks, and waits for the answer. Whoever interrupts is told where it will be.
func (a *app) invokeLater(ctx context.Context, c *client.Client, f invokeFlags, args []string, stdin io.Reader) error {
	// 1. Where inputs go, which also tells whether it is an asynchronous endpoint.
	if f.variant != "" {
		return usage("--variant is not for asynchronous endpoints, which have one only")
	}
	e, err := c.DescribeEndpoint(ctx, args[0])
	if err != nil {
		return err
	}
	if e.AsyncInferenceConfig == nil {
		return usage("the endpoint %s is not asynchronous; ask it without --async", args[0])
	}
	in, body, err := f.later(args, stdin)
	if err != nil {
		return err
	}
	defer body.Close()
	blobs, err := a.objects(c)
	if err != nil {
		return err
	}
	defer blobs.Close() //nolint:errcheck // closes idle connections only
	// 2. Upload, and ask.
	input := platform.URI(*e.AsyncInferenceConfig.OutputConfig.S3OutputPath).Join("inputs", wire.NewRequestID())
	if err := blobs.Upload(ctx, input, body); err != nil {
		return err
	}
	later, err := c.InvokeAsync(ctx, in, input)
	if err != nil {
		return err
	}
	// 3. Wait, and print.
	return a.awaitAnswer(ctx, blobs, later)
}

// later reads what to ask; a file is not read yet.
func (f invokeFlags) later(args []string, stdin io.Reader) (client.Invocation, io.ReadSeekCloser, error) {
	if len(args) < 2 || args[1] == "-" || f.dataGiven {
		in, err := f.request(args, stdin)
		return in, held{bytes.NewReader(in.Body)}, err
	}
	file, err := os.Open(args[1])
	if err != nil {
		return client.Invocation{}, nil, usage("the file %s cannot be read: %v", args[1], err)
	}
	info, err := file.Stat()
	if err == nil && info.Size() > platform.MaxAsyncInput {
		err = usage("%s is larger than %s, the most that an asynchronous endpoint takes", args[1], bytesOf(platform.MaxAsyncInput))
	}
	if err != nil {
		file.Close()
		return client.Invocation{}, nil, err
	}
	return client.Invocation{Endpoint: args[0], ContentType: f.typeOf(args[1]), Accept: f.accept}, file, nil
}

// held is bytes that need no closing.
type held struct{ *bytes.Reader }

func (held) Close() error { return nil }

// objects connects to the object store.
func (a *app) objects(c *client.Client) (*s3.Blobs, error) {
	return s3.New(s3.Config{Endpoint: c.S3, Region: c.Site.Region, Credentials: s3.Fixed(s3.Credentials{
		AccessKeyID: c.Credentials.AccessKeyID, SecretAccessKey: c.Credentials.SecretAccessKey,
	})})
}

// awaitAnswer waits until an answer or a failure is there.
func (a *app) awaitAnswer(ctx context.Context, blobs platform.Blobs, later *client.Later) error {
	began := a.now()
	still := a.animate(func(frame string) string {
		return fmt.Sprintf("%s %s  %s", a.onErr.cyan(frame), a.onErr.bold("Waiting for the answer"), clock(a.now().Sub(began)))
	})
	at, err := firstOf(ctx, blobs, later.Output, later.Failure)
	still()
	if ctx.Err() != nil {
		a.note("The answer comes without you, to %s", later.Output)
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	body, err := blobs.Open(ctx, platform.URI(at), 0, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	if at == later.Output {
		return a.printAnswer(body, map[string]any{"InferenceId": later.InferenceID, "OutputLocation": later.Output})
	}
	said, err := io.ReadAll(io.LimitReader(body, 64<<10))
	if err != nil {
		return err
	}
	return fmt.Errorf("the invocation failed; %s says:\n%s", at, indent(string(said)))
}

// firstOf waits until there is an object in one of the places.
func firstOf(ctx context.Context, blobs platform.Blobs, places ...string) (string, error) {
	for {
		for _, place := range places {
			if place == "" {
				continue
			}
			_, err := blobs.Stat(ctx, platform.URI(place))
			if err == nil || !platform.Is(err, platform.NotFound) {
				return place, err
			}
		}
		if err := sleep(ctx, pollEvery); err != nil {
			return "", err
		}
	}
}
