package agent

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"sync"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// errFetchTime ends the fetching of a model that takes too long.
var errFetchTime = errors.New("the time for fetching the model is over")

// fetchServed brings the model of an endpoint's instance and, where it is apart, the program that serves it, in the time that
// the variant gives for it.
func (a *agent) fetchServed(work context.Context) error {
	if limit := a.job.Fetch; limit > 0 {
		var cancel context.CancelFunc
		work, cancel = context.WithTimeoutCause(work, limit.Duration(), errFetchTime)
		defer cancel()
	}
	err := a.fetchModel(work)
	if err == nil {
		err = a.fetchSource(work)
	}
	if err != nil && errors.Is(context.Cause(work), errFetchTime) {
		return clientError("", "the model data could not be downloaded within the %d seconds of ModelDataDownloadTimeoutInSeconds", a.job.Fetch)
	}
	return err
}

// fetchModel lays out /opt/ml and brings the model's files into /opt/ml/model.
func (a *agent) fetchModel(ctx context.Context) error {
	for _, folder := range []string{"", modelFolder, "output", homeFolder} {
		if err := a.owned(filepath.Join(a.Root, folder)); err != nil {
			return err
		}
	}
	if platform.OfMany(&a.container) {
		return a.owned(filepath.Join(a.Root, modelsFolder)) // they come when they are asked for
	}
	uri := platform.URI(shapes.Value(a.container.ModelDataUrl))
	if uri == "" {
		return nil // a container that brings its own
	}
	err := a.fetchData(ctx, uri)
	switch {
	case platform.Is(err, platform.NotFound):
		return clientError(string(uri), "Could not find model data at %s: %w", uri, err)
	case platform.Is(err, platform.Denied):
		return clientError(string(uri), "the model data %s may not be read by the model's role: %w", uri, err)
	case err != nil:
		return fmt.Errorf("fetch the model: %w", err)
	}
	return nil
}

// fetchData brings a model's data as its source says that it is: an archive, an object, or all objects below a prefix.
func (a *agent) fetchData(ctx context.Context, uri platform.URI) error {
	folder := filepath.Join(a.Root, modelFolder)
	source := a.container.ModelDataSource
	if source == nil || source.S3DataSource == nil || shapes.Value(source.S3DataSource.CompressionType) != sagemaker.ModelCompressionTypeNone {
		return a.fetchArchive(ctx, uri, folder)
	}
	var objects []object
	var err error
	if shapes.Value(source.S3DataSource.S3DataType) == sagemaker.S3ModelDataTypeS3Prefix {
		objects, err = a.planPrefix(ctx, uri)
	} else {
		objects, err = a.planObject(ctx, uri)
	}
	if err != nil {
		return err
	}
	if err := a.checkRoom([]channel{{objects: objects}}); err != nil {
		return err
	}
	f := &fetcher{agent: a, top: folder, made: map[string]bool{}, buffers: sync.Pool{New: func() any { return new([copyBytes]byte) }}}
	return f.fetchInto(ctx, folder, objects)
}

// planObject takes a single object, under the last part of its name.
func (a *agent) planObject(ctx context.Context, uri platform.URI) ([]object, error) {
	var blob platform.BlobInfo
	err := a.store.try(ctx, func(blobs platform.Blobs) (err error) {
		blob, err = blobs.Stat(ctx, uri)
		return err
	})
	if err != nil {
		return nil, err
	}
	name, err := cleanPath(path.Base(string(uri)))
	if err != nil {
		return nil, clientError(string(uri), "the S3 object %s cannot be stored as a file: %w", uri, err)
	}
	return []object{{blob: blob, path: name}}, nil
}
