package logs

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	model "github.com/stint-ml/stint/shapes/logs"
)

func (s *service) createLogStream(ctx context.Context, _ *api.Call, in *model.CreateLogStreamRequest) error {
	err := s.store.CreateStream(ctx, *in.LogGroupName, *in.LogStreamName)
	if platform.Is(err, platform.AlreadyExists) {
		return platform.Errorf(platform.AlreadyExists, *in.LogStreamName, "The specified log stream already exists")
	}
	return onMissingGroup(err, *in.LogGroupName)
}

func (s *service) deleteLogStream(ctx context.Context, _ *api.Call, in *model.DeleteLogStreamRequest) error {
	return s.missing(ctx, s.store.DeleteStream(ctx, *in.LogGroupName, *in.LogStreamName), *in.LogGroupName, *in.LogStreamName)
}

func (s *service) describeLogStreams(ctx context.Context, call *api.Call, in *model.DescribeLogStreamsRequest) (*model.DescribeLogStreamsResponse, error) {
	group, err := groupName(call, in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	byLast := in.OrderBy != nil && *in.OrderBy == model.OrderByLastEventTime
	if byLast && in.LogStreamNamePrefix != nil {
		return nil, platform.Errorf(platform.Invalid, group, "Cannot order by LastEventTime with a logStreamNamePrefix.")
	}
	found, next, err := s.store.Streams(ctx, platform.LogStreamQuery{
		Group: group, Prefix: shapes.Value(in.LogStreamNamePrefix), ByLastEvent: byLast, Descending: shapes.Value(in.Descending),
		Limit: limitOf(in.Limit, defaultDescribeLimit), After: shapes.Value(in.NextToken),
	})
	if err != nil {
		return nil, paged(onMissingGroup(err, group), in.NextToken)
	}
	out := &model.DescribeLogStreamsResponse{LogStreams: make([]model.LogStream, len(found)), NextToken: optional(next)}
	for i, stream := range found {
		out.LogStreams[i] = showStream(call.Site, group, stream)
	}
	return out, nil
}

func showStream(site platform.Site, group string, s platform.LogStream) model.LogStream {
	return model.LogStream{
		LogStreamName:       &s.Name,
		CreationTime:        new(s.Created.UnixMilli()),
		FirstEventTimestamp: milli(s.First),
		LastEventTimestamp:  milli(s.Last),
		LastIngestionTime:   milli(s.Ingested),
		UploadSequenceToken: new(sequenceToken(group, s.Name)),
		Arn:                 new(string(streamARN(site, group, s.Name))),
		StoredBytes:         new(int64(0)), // AWS has reported nothing else since 2019
	}
}

// milli is absent for the zero time.
func milli(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	return new(t.UnixMilli())
}

// sequenceToken is what old clients send back with their next batch. Nobody looks at it, as in AWS.
func sequenceToken(group, stream string) string {
	return fmt.Sprintf("%056d", fingerprint(group, stream))
}

// fingerprint tells streams apart in tokens and event ids; it protects against mistakes, not against malice.
func fingerprint(names ...string) uint64 {
	h := fnv.New64a()
	for _, name := range names {
		_, _ = h.Write([]byte(name + "\x00")) // a hash takes every write
	}
	return h.Sum64()
}
