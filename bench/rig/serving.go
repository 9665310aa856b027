package rig

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/cmd/stint/client"
	"github.com/stint-ml/stint/cmd/stint/server"
	"github.com/stint-ml/stint/drivers/blobs/s3"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// serveWithin is how long an endpoint may take until it is in service.
const serveWithin = time.Minute

// UseRuntimes lets the server that will be started in the folder home run what `make runtimes` has installed, and gives its folder.
func UseRuntimes(home string) (string, error) {
	runtimes := os.Getenv("STINT_RUNTIMES")
	if runtimes == "" {
		return "", errors.New("STINT_RUNTIMES is not set: run benchmarks by make bench-NAME")
	}
	return runtimes, errors.Join(os.MkdirAll(home, 0o711), os.Symlink(runtimes, server.Home(home).Runtimes()))
}

// Blobs is the server's object store as its user sees it.
func (s *Server) Blobs() (*s3.Blobs, error) {
	return s3.New(s3.Config{
		Endpoint: s.S3, Region: s.Site.Region, Credentials: s3.Fixed(s3.Credentials{AccessKeyID: s.Keys.AccessKeyID, SecretAccessKey: s.Keys.SecretAccessKey}),
	})
}

// Pack makes a model's archive of files that may be executed.
func Pack(files map[string][]byte) ([]byte, error) {
	var archive bytes.Buffer
	zipped := gzip.NewWriter(&archive)
	packed := tar.NewWriter(zipped)
	for name, content := range files {
		err := packed.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))})
		if err == nil {
			_, err = packed.Write(content)
		}
		if err != nil {
			return nil, err
		}
	}
	err := errors.Join(packed.Close(), zipped.Close())
	return archive.Bytes(), err
}

// CreateModel makes a model of one container.
func (s *Server) CreateModel(ctx context.Context, name string, container sagemaker.ContainerDefinition) error {
	return s.Client.CreateModel(ctx, &sagemaker.CreateModelInput{
		ModelName: &name, ExecutionRoleArn: new(string(s.Site.GlobalARN("iam", "role/"+api.DefaultRole))), PrimaryContainer: &container,
	})
}

// OneInstance is the usual variant of an endpoint.
func OneInstance(model string) sagemaker.ProductionVariant {
	return sagemaker.ProductionVariant{
		VariantName: new("AllTraffic"), ModelName: &model, InitialInstanceCount: new(int32(1)),
		InstanceType: new(sagemaker.ProductionVariantInstanceType("ml.m5.large")),
	}
}

// CreateEndpoint makes an endpoint, waits until it is in service, and tells how long that took.
func (s *Server) CreateEndpoint(ctx context.Context, name, config string) (time.Duration, error) {
	began := time.Now()
	if err := s.Client.CreateEndpoint(ctx, &sagemaker.CreateEndpointInput{EndpointName: &name, EndpointConfigName: &config}); err != nil {
		return 0, err
	}
	err := Eventually(ctx, serveWithin, name+" to be in service", func() (bool, error) {
		d, err := s.Client.DescribeEndpoint(ctx, name)
		if err == nil && *d.EndpointStatus == sagemaker.EndpointStatusFailed {
			err = fmt.Errorf("endpoint %s failed: %s", name, *d.FailureReason)
		}
		return err == nil && *d.EndpointStatus == sagemaker.EndpointStatusInService, err
	})
	return time.Since(began), err
}

// Ask invokes an endpoint, and tells how long it took until the answer was there to its end.
func (s *Server) Ask(ctx context.Context, what client.Invocation) (time.Duration, error) {
	began := time.Now()
	answer, err := s.Client.Invoke(ctx, what)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return time.Since(began), errors.Join(err, answer.Body.Close())
}
