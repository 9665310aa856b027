package agent

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

const uploadWorkers = 8 // files uploaded at once when they are not put into an archive

// artifact is one of the folders that outlive the job.
type artifact struct {
	folder, name, message string
	uploaded              func(*platform.Outcome, platform.URI)
}

var artifacts = []artifact{
	{modelFolder, "model", "Uploading generated training model", func(o *platform.Outcome, u platform.URI) { o.Model = u }},
	{outputFolder, "output", "Uploading output data", func(o *platform.Outcome, u platform.URI) { o.Output = u }},
}

// upload brings the model and the output data to the store, however the user's code ended, and completes the outcome. An
// empty folder leaves nothing in the store, as on AWS. What cannot be uploaded stays on the machine, and the outcome says
// where. An interruption does not end it before its time is up: what is finished is not to be done again.
func (a *agent) upload(life context.Context, o platform.Outcome) platform.Outcome {
	a.enter(platform.PhaseUploading, "")
	inTime, done := a.orders.before(life, (*notice).syncEnds)
	defer done()
	a.store.refresh(inTime)
	for _, art := range artifacts {
		uri, err := a.uploadArtifact(inTime, art)
		if err == nil {
			art.uploaded(&o, uri)
			continue
		}
		if life.Err() != nil {
			return o
		}
		if inTime.Err() != nil {
			err = context.Cause(inTime)
		}
		if errors.Is(err, errInterrupted) && o.Kind == platform.Succeeded {
			return a.interrupted(o.ExitCode)
		}
		o = a.notUploaded(o, art, err)
	}
	return o
}

// notUploaded says in the outcome that an artifact is still here. A failure of the user's code stays the outcome's kind, and so
// does a stop or the longest run time when there was no time left to upload.
func (a *agent) notUploaded(o platform.Outcome, art artifact, err error) platform.Outcome {
	kept := a.outside(filepath.Join(a.Root, art.folder))
	a.Log.Error("an artifact could not be uploaded", "kept", kept, "error", err)
	if o.Kept == "" {
		o.Kept = kept
	}
	said := "the " + art.name + " could not be uploaded to " + string(a.job.Output) + " and is kept in " + kept
	if errors.Is(err, errInterrupted) || o.Kind == platform.AlgorithmError || o.Kind == platform.ClientError || o.Kind == platform.InternalError {
		a.warn(said + ": " + err.Error())
		return o
	}
	failure := failed(err)
	o.Kind = failure.Kind
	o.Reason = clip(string(failure.Kind)+": "+said+": "+err.Error(), "")
	return o
}

// uploadArtifact gives the URI of what was uploaded, empty when there was nothing.
func (a *agent) uploadArtifact(life context.Context, art artifact) (platform.URI, error) {
	t, err := a.openTree(art.folder)
	if err != nil {
		return "", err
	}
	defer t.close()
	if t.empty() {
		return "", nil
	}
	var done atomic.Int64
	defer a.progress(platform.PhaseUploading, art.message, &done, t.bytes)()
	if shapes.Value(a.spec.OutputDataConfig.CompressionType) == sagemaker.OutputCompressionTypeNone {
		uri := a.job.Output.Join(art.name) + "/"
		return uri, a.uploadFiles(life, t, uri, &done)
	}
	uri := a.job.Output.Join(art.name + ".tar.gz")
	return uri, a.store.try(life, func(blobs platform.Blobs) error {
		done.Store(0)
		return t.uploadArchive(life, blobs, uri, &done)
	})
}

// uploadArchive streams the tree as a .tar.gz into the store, without a copy on disk.
func (t *tree) uploadArchive(ctx context.Context, blobs platform.Blobs, uri platform.URI, done *atomic.Int64) error {
	ctx, cancel := context.WithCancel(ctx)
	plain, in := io.Pipe()
	archived := make(chan error, 1)
	go func() {
		err := t.archive(ctx, in, done)
		in.CloseWithError(err)
		archived <- err
	}()
	zipped := newGzipReader(plain)
	err := blobs.Upload(ctx, uri, zipped)
	cancel()
	zipped.close()
	plain.CloseWithError(io.ErrClosedPipe)
	// A tree that cannot be read fails the upload too, in words that say less.
	if cause := <-archived; cause != nil && platform.KindOf(cause) == platform.Invalid {
		return cause
	}
	return err
}

// uploadFiles uploads each file under its own name. Links and folders have no equal in the store: links are left out.
func (a *agent) uploadFiles(ctx context.Context, t *tree, base platform.URI, done *atomic.Int64) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(uploadWorkers)
	for _, f := range t.files {
		if f.link != "" {
			a.warn("not uploaded, as it is a link: " + f.name)
		}
		if f.from == "" {
			continue
		}
		group.Go(func() error {
			// The URI is put together here: names may have spaces around or double slashes, which Join would mend.
			uri := platform.URI(strings.TrimSuffix(string(base), "/") + "/" + f.name)
			return a.store.try(ctx, func(blobs platform.Blobs) error {
				in, err := t.open(f)
				if err != nil {
					return platform.Errorf(platform.Invalid, f.from, "cannot read %s: %w", filepath.Join(a.Root, f.from), err)
				}
				defer in.Close()
				if err := blobs.Upload(ctx, uri, in); err != nil {
					return err
				}
				done.Add(f.info.Size())
				return nil
			})
		})
	}
	return group.Wait()
}
