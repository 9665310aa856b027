package agent

import (
	"cmp"
	"context"
	"hash/fnv"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

const (
	// objectsAtOnce hide the store's answers behind the model's work. Of large ones, whose outputs take memory on their way,
	// there are fewer.
	objectsAtOnce      = 8
	largeObjectsAtOnce = 2
	largeObject        = 8 << 20
	largeZipped        = 1 << 20
)

// transformObjects sends the objects of the share that are not done with, and notes what became of each. An error is one of
// the whole: what became of single objects is in the book.
func (a *agent) transformObjects(ctx context.Context, sender Sender, book *book) error {
	group, ctx := errgroup.WithContext(ctx)
	small := make(chan platform.BlobInfo)
	group.Go(func() error {
		defer close(small)
		return a.eachInput(ctx, func(blob platform.BlobInfo) bool {
			if a.shareOf(blob.URI) != a.task.Share || !book.begin(ctx, blob.URI) {
				return ctx.Err() == nil
			}
			select {
			case small <- blob:
				return true
			case <-ctx.Done():
				return false
			}
		})
	})
	large := semaphore.NewWeighted(largeObjectsAtOnce)
	for range objectsAtOnce {
		group.Go(func() error {
			for blob := range small {
				if err := a.transformOne(ctx, sender, book, blob, large); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// transformOne transforms an object and notes what became of it; an error says that the work was broken off.
func (a *agent) transformOne(ctx context.Context, sender Sender, book *book, blob platform.BlobInfo, large *semaphore.Weighted) error {
	if limit := cmp.Or(a.zipped(), int64(largeObject)); blob.Size >= limit {
		if err := large.Acquire(ctx, 1); err != nil {
			return context.Cause(ctx)
		}
		defer large.Release(1)
	}
	err := a.transformObject(ctx, sender, blob)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if platform.Is(err, platform.Unavailable) { // neither the object's nor the model's fault: somebody else may have more luck
		return err
	}
	if err != nil {
		a.note("%s", reasonOf(blob.URI, err))
	}
	book.done(blob.URI, err)
	return nil
}

// zipped is from what size on an object is large because it is compressed; 0: it is not.
func (a *agent) zipped() int64 {
	if shapes.Value(a.task.Request.TransformInput.CompressionType) == sagemaker.CompressionTypeGzip {
		return largeZipped
	}
	return 0
}

// shareOf is whose an object is: a matter of its name alone, so that objects that come or go meanwhile move no others.
func (a *agent) shareOf(u platform.URI) int {
	if a.task.Shares < 2 {
		return 0
	}
	h := fnv.New32a()
	h.Write([]byte(u)) // never fails
	return int(h.Sum32() % uint32(a.task.Shares))
}

// eachInput gives the objects of the input in the order of their URIs, until f returns false.
func (a *agent) eachInput(ctx context.Context, f func(platform.BlobInfo) bool) error {
	source := a.task.Request.TransformInput.DataSource.S3DataSource
	uri := platform.URI(shapes.Value(source.S3Uri))
	if shapes.Value(source.S3DataType) == sagemaker.S3DataTypeManifestFile {
		return a.eachOfManifest(ctx, uri, f)
	}
	// The listing is not kept: there may be millions. One that breaks off goes on behind what it has given.
	var last platform.URI
	found, more := false, true
	err := a.store.try(ctx, func(blobs platform.Blobs) error {
		for blob, err := range blobs.List(ctx, uri) {
			if err != nil {
				return err
			}
			if blob.URI <= last {
				continue
			}
			last = blob.URI
			if strings.HasSuffix(string(blob.URI), "/") { // the marker of a folder, as consoles make it
				continue
			}
			output, err := a.isOutput(ctx, blobs, blob.URI)
			if err != nil {
				return err
			}
			if output {
				continue
			}
			if found, more = true, f(blob); !more {
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return a.explain(uri, err)
	}
	if !found && ctx.Err() == nil {
		return a.nothingThere(uri)
	}
	return nil
}

// eachOfManifest gives the objects that a manifest lists.
func (a *agent) eachOfManifest(ctx context.Context, uri platform.URI, f func(platform.BlobInfo) bool) error {
	prefix, names, err := a.readManifest(ctx, uri)
	if err != nil {
		return err
	}
	a.manifestPrefix = prefix
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		full := platform.URI(string(prefix) + name)
		var blob platform.BlobInfo
		err := a.store.try(ctx, func(blobs platform.Blobs) (err error) {
			blob, err = blobs.Stat(ctx, full)
			return err
		})
		if err != nil {
			return a.explain(full, err)
		}
		if !f(blob) {
			return nil
		}
	}
	return nil
}

// below is how an object of the input is called below what the job names as its input.
func (a *agent) below(u platform.URI) string {
	source := a.task.Request.TransformInput.DataSource.S3DataSource
	prefix := platform.URI(shapes.Value(source.S3Uri))
	if shapes.Value(source.S3DataType) == sagemaker.S3DataTypeManifestFile {
		prefix = a.manifestPrefix
	}
	_, start, _ := prefix.Split() // they were split before
	_, key, _ := u.Split()
	return localName(start, key)
}

// outputSuffix is what the name of an output ends with.
const outputSuffix = ".out"

// outputOf is where the output of an object goes.
func (a *agent) outputOf(u platform.URI) platform.URI {
	// Put together here: names may have spaces around or double slashes, which Join would mend.
	return platform.URI(strings.TrimSuffix(string(a.job.Output), "/") + "/" + a.below(u) + outputSuffix)
}

// isOutput tells whether an object of the listing is the output of another one: the outputs may lie below the input, and what
// this job has made is not to be transformed itself.
func (a *agent) isOutput(ctx context.Context, blobs platform.Blobs, u platform.URI) (bool, error) {
	name, below := strings.CutPrefix(string(u), strings.TrimSuffix(string(a.job.Output), "/")+"/")
	name, out := strings.CutSuffix(name, outputSuffix)
	if !below || !out {
		return false, nil
	}
	prefix := shapes.Value(a.task.Request.TransformInput.DataSource.S3DataSource.S3Uri)
	for _, origin := range []string{prefix + name, prefix + "/" + name, prefix[:strings.LastIndexByte(prefix, '/')+1] + name} {
		if a.outputOf(platform.URI(origin)) != u || !strings.HasPrefix(origin, prefix) {
			continue
		}
		_, err := blobs.Stat(ctx, platform.URI(origin))
		if err == nil {
			return true, nil
		}
		if !platform.Is(err, platform.NotFound) {
			return false, err
		}
	}
	return false, nil
}
