package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"

	"github.com/stint-ml/stint/platform"
)

const (
	// heldOutput is how much of an output is held until it is whole. What is larger is sent off as it comes.
	heldOutput = 16 << 20
	// objectTries is how often an object is begun anew because the store went away for longer than an upload can wait.
	objectTries = 3
	// readTries is how often in a row an object's content may break off at one place.
	readTries = 5
)

// transformObject makes the output of one object, which appears whole or not at all.
func (a *agent) transformObject(ctx context.Context, sender Sender, blob platform.BlobInfo) error {
	var err error
	for range objectTries {
		if err = a.tryObject(ctx, sender, blob); !platform.Is(err, platform.Unavailable) || ctx.Err() != nil {
			return err
		}
		a.Log.Warn("an object is begun anew", "object", blob.URI, "error", err)
	}
	return err
}

func (a *agent) tryObject(ctx context.Context, sender Sender, blob platform.BlobInfo) error {
	in := &input{ctx: ctx, agent: a, blob: blob}
	defer in.close()
	out := &output{ctx: ctx, agent: a, uri: a.outputOf(blob.URI)}
	read, err := a.unzipped(in)
	if err == nil {
		err = sender.Object(ctx, read, out)
	}
	return out.finish(err)
}

// unzipped is an object's content. An empty object is one without content, compressed or not.
func (a *agent) unzipped(in *input) (io.Reader, error) {
	if a.zipped() == 0 || in.blob.Size == 0 {
		return in, nil
	}
	plain, err := gzip.NewReader(in)
	if err != nil {
		return nil, notZipped(in, err)
	}
	return zipped{plain, in}, nil
}

// zipped tells damage of a compressed object from a store that cannot be read.
type zipped struct {
	plain *gzip.Reader
	in    *input
}

func (z zipped) Read(p []byte) (int, error) {
	n, err := z.plain.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = notZipped(z.in, err)
	}
	return n, err
}

func notZipped(in *input, err error) error {
	if in.err != nil {
		return in.err
	}
	return clientError(string(in.blob.URI), "the object is not gzip, which CompressionType asks for: %w", err)
}

// input reads an object to its end. When the store goes away meanwhile, it goes on where it was, if it still is the same object.
type input struct {
	ctx   context.Context // of the work that reads
	agent *agent
	blob  platform.BlobInfo
	at    int64
	stuck int // times in a row that reading broke off without having given anything
	body  io.ReadCloser
	err   error // the last that a read gave, but for the end
}

// Read implements io.Reader.
func (i *input) Read(p []byte) (n int, err error) {
	if i.at >= i.blob.Size {
		return 0, io.EOF
	}
	defer func() { i.err = err }()
	for {
		if i.body == nil {
			if err := i.open(); err != nil {
				return 0, err
			}
		}
		n, err := i.body.Read(p)
		if i.at += int64(n); n > 0 {
			i.stuck = 0
			return n, nil
		}
		if err == nil {
			continue
		}
		i.close()
		if i.ctx.Err() != nil {
			return 0, context.Cause(i.ctx)
		}
		if errors.Is(err, io.EOF) { // before the object's end
			err = io.ErrUnexpectedEOF
		}
		if i.stuck++; i.stuck == readTries {
			return 0, platform.Errorf(platform.Unavailable, string(i.blob.URI), "%s broke off at byte %d: %w", i.blob.URI, i.at, err)
		}
		i.agent.Log.Warn("reading an object goes on where it broke off", "object", i.blob.URI, "at", i.at, "error", err)
	}
}

// open opens the rest of the object. Only the beginning is opened unasked: what a listing gave has hardly changed since.
func (i *input) open() error {
	return i.agent.store.try(i.ctx, func(blobs platform.Blobs) error {
		if i.at > 0 {
			now, err := blobs.Stat(i.ctx, i.blob.URI)
			if err == nil && (now.ETag != i.blob.ETag || now.Size != i.blob.Size) {
				err = clientError(string(i.blob.URI), "the object was changed while it was read")
			}
			if err != nil {
				return unreadable(err)
			}
		}
		body, err := blobs.Open(i.ctx, i.blob.URI, i.at, -1)
		i.body = body
		return unreadable(err)
	})
}

func unreadable(err error) error {
	if platform.Is(err, platform.NotFound) || platform.Is(err, platform.Denied) {
		return clientError("", "the object was listed but cannot be read: %w", err)
	}
	return err
}

func (i *input) close() {
	if i.body != nil {
		i.body.Close()
		i.body = nil
	}
}

// output gathers what becomes of an object, and stores it when it is whole.
type output struct {
	ctx      context.Context // of the work that writes
	agent    *agent
	uri      platform.URI
	held     bytes.Buffer
	pipe     *io.PipeWriter // once there is more than is held
	uploaded chan error
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	if o.pipe == nil && o.held.Len()+len(p) <= heldOutput {
		return o.held.Write(p)
	}
	if o.pipe == nil {
		rest, in := io.Pipe()
		o.pipe, o.uploaded = in, make(chan error, 1)
		go func() {
			err := o.agent.store.current().Upload(o.ctx, o.uri, io.MultiReader(&o.held, rest))
			rest.CloseWithError(cmpError(err, io.ErrClosedPipe))
			o.uploaded <- err
		}()
	}
	return o.pipe.Write(p)
}

// finish stores the output, unless err says that it did not become whole, which it returns.
func (o *output) finish(err error) error {
	if o.pipe == nil {
		if err != nil {
			return err
		}
		return o.told(o.agent.store.try(o.ctx, func(blobs platform.Blobs) error {
			return blobs.Upload(o.ctx, o.uri, bytes.NewReader(o.held.Bytes()))
		}))
	}
	if err == nil {
		_ = o.pipe.Close() // never fails
		return o.told(<-o.uploaded)
	}
	o.pipe.CloseWithError(fmt.Errorf("the output did not become whole: %w", err))
	if stored := <-o.uploaded; stored != nil && errors.Is(err, stored) { // writing failed because storing did
		return o.told(stored)
	}
	return err
}

// told says what cannot be stored.
func (o *output) told(err error) error {
	if platform.Is(err, platform.NotFound) || platform.Is(err, platform.Denied) {
		return clientError(string(o.uri), "the output %s cannot be stored: %w", o.uri, err)
	}
	return err
}

// cmpError is the first error that is one.
func cmpError(err, or error) error {
	if err != nil {
		return err
	}
	return or
}
