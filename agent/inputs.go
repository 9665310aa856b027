package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// manifestLimit bounds a manifest, which is read whole.
const manifestLimit = 256 << 20

// object is something to be fetched.
type object struct {
	blob platform.BlobInfo
	path string // below the channel's folder, clean; of a folder it ends with '/'
}

// channel is an input as it will lie on disk.
type channel struct {
	name    string
	objects []object
}

// plan finds out what the job's channels consist of.
func (a *agent) plan(ctx context.Context) ([]channel, error) {
	channels := make([]channel, len(a.spec.InputDataConfig))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i, ch := range a.spec.InputDataConfig {
		group.Go(func() error {
			name := shapes.Value(ch.ChannelName)
			if mode := a.inputMode(ch); mode == sagemaker.TrainingInputModePipe {
				return clientError(name, "channel %q asks for input mode Pipe, which this server does not support; use File or FastFile", name)
			}
			if ch.DataSource == nil || ch.DataSource.S3DataSource == nil {
				return clientError(name, "channel %q has no S3DataSource; this server supports no other data source", name)
			}
			objects, err := a.planChannel(ctx, *ch.DataSource.S3DataSource)
			channels[i] = channel{name: name, objects: objects}
			return err
		})
	}
	return channels, group.Wait()
}

func (a *agent) planChannel(ctx context.Context, source sagemaker.S3DataSource) ([]object, error) {
	uri := platform.URI(shapes.Value(source.S3Uri))
	if _, _, err := uri.Split(); err != nil {
		return nil, err
	}
	var objects []object
	var err error
	switch kind := shapes.Value(source.S3DataType); kind {
	case sagemaker.S3DataTypeS3Prefix, "":
		objects, err = a.planPrefix(ctx, uri)
	case sagemaker.S3DataTypeManifestFile:
		objects, err = a.planManifest(ctx, uri)
	default:
		return nil, clientError(string(uri), "S3DataType %s is not supported by this server; use S3Prefix or ManifestFile", kind)
	}
	if err != nil {
		return nil, err
	}
	if shapes.Value(source.S3DataDistributionType) == sagemaker.S3DataDistributionShardedByS3Key {
		objects = shard(objects, slices.Index(a.job.Hosts, a.job.Host), len(a.job.Hosts))
	}
	return objects, nil
}

// planPrefix takes all objects whose key begins with the prefix.
func (a *agent) planPrefix(ctx context.Context, uri platform.URI) ([]object, error) {
	_, prefix, _ := uri.Split()
	var objects []object
	err := a.store.try(ctx, func(blobs platform.Blobs) error {
		objects = nil
		for blob, err := range blobs.List(ctx, uri) {
			if err != nil {
				return err
			}
			_, key, err := blob.URI.Split()
			if err != nil {
				return err
			}
			local, err := cleanPath(localName(prefix, key))
			if err != nil {
				return clientError(string(blob.URI), "the S3 object %s cannot be stored as a file: %w", blob.URI, err)
			}
			objects = append(objects, object{blob: blob, path: local})
		}
		return nil
	})
	if err != nil {
		return nil, a.explain(uri, err)
	}
	if len(objects) == 0 {
		return nil, a.nothingThere(uri)
	}
	// The marker of the prefix itself, as consoles make it, says only that it exists.
	return slices.DeleteFunc(objects, func(o object) bool { return o.path == "" }), nil
}

// localName is where an object lies below its channel's folder. A prefix may name a folder, with or without the last slash,
// a single object, or the beginning of several names: s3://b/train takes train/a as a, train itself as train, and train2/b
// as train2/b.
func localName(prefix, key string) string {
	rest, _ := strings.CutPrefix(key, prefix)
	switch {
	case prefix == "" || strings.HasSuffix(prefix, "/"):
		return rest
	case strings.HasPrefix(rest, "/"):
		return rest[1:]
	default:
		return key[strings.LastIndexByte(prefix, '/')+1:]
	}
}

// cleanPath refuses names that would leave the channel's folder. Empty elements are left out, as the file system does.
func cleanPath(name string) (string, error) {
	if strings.ContainsRune(name, 0) {
		return "", errors.New("its key holds a zero byte")
	}
	for _, element := range strings.Split(name, "/") {
		switch {
		case element == "." || element == "..":
			return "", fmt.Errorf("its key has the element %q", element)
		case len(element) > 255:
			return "", fmt.Errorf("a name in its key has %d bytes, more than the 255 that the file system allows", len(element))
		}
	}
	clean := strings.TrimPrefix(path.Clean("/"+name), "/")
	if strings.HasSuffix(name, "/") && clean != "" {
		clean += "/"
	}
	return clean, nil
}

// planManifest takes the objects that a manifest lists: [{"prefix": "s3://bucket/some/"}, "relative/a", …].
func (a *agent) planManifest(ctx context.Context, uri platform.URI) ([]object, error) {
	prefix, names, err := a.readManifest(ctx, uri)
	if err != nil {
		return nil, err
	}
	objects := make([]object, len(names))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(smallWorkers)
	for i, name := range names {
		group.Go(func() error {
			local, err := cleanPath(name)
			if err != nil {
				return clientError(string(uri), "the manifest %s names %q, which cannot be stored as a file: %w", uri, name, err)
			}
			full := platform.URI(string(prefix) + name)
			return a.store.try(ctx, func(blobs platform.Blobs) error {
				blob, err := blobs.Stat(ctx, full)
				objects[i] = object{blob: blob, path: local}
				return a.explain(full, err)
			})
		})
	}
	return objects, group.Wait()
}

func (a *agent) readManifest(ctx context.Context, uri platform.URI) (prefix platform.URI, names []string, err error) {
	var doc []byte
	err = a.store.try(ctx, func(blobs platform.Blobs) error {
		in, err := blobs.Open(ctx, uri, 0, -1)
		if err != nil {
			return err
		}
		defer in.Close()
		doc, err = io.ReadAll(io.LimitReader(in, manifestLimit+1))
		return err
	})
	if err != nil {
		return "", nil, a.explain(uri, err)
	}
	bad := func(err error) error {
		return clientError(string(uri), `the manifest %s is not of the form [{"prefix": "s3://bucket/some/"}, "relative/name", …]: %w`, uri, err)
	}
	if len(doc) > manifestLimit {
		return "", nil, bad(fmt.Errorf("it is larger than %s", bytesText(manifestLimit)))
	}
	var entries []json.RawMessage
	if err := json.Unmarshal(doc, &entries); err != nil {
		return "", nil, bad(err)
	}
	if len(entries) == 0 {
		return "", nil, bad(errors.New("it is empty"))
	}
	var head struct {
		Prefix platform.URI `json:"prefix"`
	}
	if err := json.Unmarshal(entries[0], &head); err != nil {
		return "", nil, bad(err)
	}
	if _, _, err := head.Prefix.Split(); err != nil {
		return "", nil, bad(err)
	}
	names = make([]string, len(entries)-1)
	for i, entry := range entries[1:] {
		if err := json.Unmarshal(entry, &names[i]); err != nil {
			return "", nil, bad(err)
		}
	}
	return head.Prefix, names, nil
}

// shard takes the part of one host: every n-th object in the order of keys.
func shard(objects []object, host, hosts int) []object {
	slices.SortFunc(objects, func(x, y object) int { return strings.Compare(string(x.blob.URI), string(y.blob.URI)) })
	var mine []object
	for i := max(0, host); i < len(objects); i += max(1, hosts) {
		mine = append(mine, objects[i])
	}
	return mine
}

// explain puts AWS's words on what is missing or refused.
func (a *agent) explain(uri platform.URI, err error) error {
	if platform.Is(err, platform.NotFound) || platform.Is(err, platform.Denied) {
		a.Log.Info("an input cannot be had", "uri", uri, "error", err)
		return a.nothingThere(uri)
	}
	return err
}

func (a *agent) nothingThere(uri platform.URI) error {
	bucket, _, _ := uri.Split()
	return clientError(string(uri), "No S3 objects found under S3 URL %q given in input data source. Please ensure that the bucket exists in the "+
		"selected region (%s), that objects exist under that S3 prefix, and that the role %q has \"s3:ListBucket\" permissions on bucket %q.",
		string(uri), a.job.Site.Region, shapes.Value(a.spec.RoleArn), bucket)
}
