package agent

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// modelsFolder holds the models of an instance of many, each in a folder of its own.
const modelsFolder = "models"

// lateWord is how long before the whole time of an invocation is over it is said which of several containers takes too long.
const lateWord = 250 * time.Millisecond

// Front stands between callers and the containers of an instance: a container of many models, and sees that the model of each
// request is loaded (agent/models), or several containers that share the work of each (agent/pipeline).
type Front interface {
	// Serve answers requests until Close, and then gives nil.
	Serve(l net.Listener) error
	// Close ends it at once, or as soon as callers have been told that the containers have ended. Models that are on their way
	// are given up.
	Close()
}

// ModelSource is what a Front gets to know. All of it is set.
type ModelSource struct {
	Container string       // where it listens, host:port
	Prefix    platform.URI // below which the models' archives are
	Folder    string       // where they are unpacked, as the container sees it too
	Memory    int64        // bytes that the container may use; 0: unbounded
	Cached    bool         // whether models stay loaded when they have no requests
	Clock     platform.Clock
	Log       *slog.Logger

	// Stat tells of an archive, Fetch unpacks one into a folder. NotFound and Denied: there is none for this role; Invalid: it
	// cannot be unpacked; Unavailable: the store is away.
	Stat   func(ctx context.Context, archive platform.URI) (platform.BlobInfo, error)
	Fetch  func(ctx context.Context, archive platform.URI, folder string) error
	Report func(figures []platform.Datum) // without dimensions
}

// Pipeline is what stands between callers and several containers gets to know.
type Pipeline struct {
	Containers []NamedContainer // in order
	Direct     bool             // a request names the container that it is for; else each gets what the one before it answered
	// Limit is the time for a request until an answer begins; 0: whoever asks bounds it.
	Limit time.Duration
}

// NamedContainer is one of several.
type NamedContainer struct {
	Name    string
	Address string // host:port
}

// openFront opens what stands before an instance's containers, and gives where requests are to go: to a container with a model
// of its own they go themselves.
func (a *agent) openFront(parts []*part) (address string, done func(), err error) {
	var front Front
	switch {
	case len(parts) > 1:
		front, err = a.pipeline(parts)
	case platform.OfMany(&a.container):
		front, err = a.manyModels(parts[0].address)
	default:
		return parts[0].address, func() {}, nil
	}
	if err != nil {
		return "", nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, platform.Errorf(platform.Internal, "", "listen before the container: %w", err)
	}
	go func() {
		if err := front.Serve(l); err != nil {
			a.Log.Error("requests are not passed on to the container any more", "error", err)
			a.orders.stop()
		}
	}()
	return l.Addr().String(), front.Close, nil
}

// manyModels makes what stands before a container of many models.
func (a *agent) manyModels(container string) (Front, error) {
	if a.Front == nil {
		return nil, platform.Errorf(platform.NotSupported, "", "this agent cannot serve many models")
	}
	return a.Front(ModelSource{
		Container: container, Prefix: platform.URI(shapes.Value(a.container.ModelDataUrl)), Folder: filepath.Join(a.Root, modelsFolder),
		Memory: a.job.Memory, Cached: cached(&a.container), Clock: a.Clock, Log: a.Log,
		Stat:   a.statModel,
		Fetch:  a.fetchOneOfMany,
		Report: func(figures []platform.Datum) { a.report(platform.Report{Figures: figures}) },
	})
}

// pipeline makes what stands before several containers.
func (a *agent) pipeline(parts []*part) (Front, error) {
	if a.Pipeline == nil {
		return nil, platform.Errorf(platform.NotSupported, "", "this agent cannot serve several containers")
	}
	p := Pipeline{Direct: a.model.Direct}
	for _, one := range parts {
		p.Containers = append(p.Containers, NamedContainer{one.name, one.address})
	}
	if a.job.Kind == platform.KindEndpoint {
		p.Limit = max(longestOfAWS, a.job.Longest.Duration()) - lateWord
	}
	return a.Pipeline(p)
}

// cached is whether a container's models stay loaded: unless the request says otherwise.
func cached(c *sagemaker.ContainerDefinition) bool {
	m := c.MultiModelConfig
	return m == nil || shapes.Value(m.ModelCacheSetting) != sagemaker.ModelCacheSettingDisabled
}

func (a *agent) statModel(ctx context.Context, uri platform.URI) (info platform.BlobInfo, err error) {
	err = a.store.try(ctx, func(blobs platform.Blobs) error {
		info, err = blobs.Stat(ctx, uri)
		return err
	})
	return info, err
}

// fetchOneOfMany unpacks a model into DIR/model, where DIR is made and belongs to the container too.
func (a *agent) fetchOneOfMany(ctx context.Context, uri platform.URI, folder string) error {
	if err := a.owned(filepath.Dir(folder)); err != nil {
		return err
	}
	return a.fetchArchive(ctx, uri, folder)
}
