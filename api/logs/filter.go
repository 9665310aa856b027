package logs

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	model "github.com/stint-ml/stint/shapes/logs"
)

func (s *service) filterLogEvents(ctx context.Context, call *api.Call, in *model.FilterLogEventsRequest) (*model.FilterLogEventsResponse, error) {
	group, err := groupName(call, in.LogGroupName, in.LogGroupIdentifier)
	switch {
	case err != nil:
		return nil, err
	case len(in.LogStreamNames) > 0 && in.LogStreamNamePrefix != nil:
		return nil, platform.Errorf(platform.Invalid, group, "logStreamNames and logStreamNamePrefix are mutually exclusive parameters.")
	case in.StartFromHead != nil && !*in.StartFromHead:
		return nil, platform.Errorf(platform.NotSupported, group, "FilterLogEvents with startFromHead false is not supported by this server")
	}
	match, err := compilePattern(shapes.Value(in.FilterPattern))
	if err != nil {
		return nil, err
	}
	found, next, err := s.store.Filter(ctx, platform.LogFilter{
		Group: group, Streams: in.LogStreamNames, StreamPrefix: shapes.Value(in.LogStreamNamePrefix), Match: match,
		Start: instant(in.StartTime), End: through(in.EndTime), Limit: limitOf(in.Limit, maxPageEvents), After: shapes.Value(in.NextToken),
	})
	if err != nil {
		return nil, paged(s.missing(ctx, err, group, ""), in.NextToken)
	}
	out := &model.FilterLogEventsResponse{
		Events:             make([]model.FilteredLogEvent, len(found)),
		SearchedLogStreams: []model.SearchedLogStream{}, // AWS has sent an empty list since 2020
		NextToken:          optional(next),
	}
	for i, e := range found {
		out.Events[i] = model.FilteredLogEvent{
			LogStreamName: &found[i].Stream, Timestamp: new(e.Timestamp.UnixMilli()), Message: &found[i].Message,
			IngestionTime: new(e.Ingested.UnixMilli()), EventId: new(eventID(e)),
		}
	}
	return out, nil
}

// through is the end of a range that holds the millisecond given, which is how FilterLogEvents, unlike GetLogEvents, means
// its endTime.
func through(milli *int64) time.Time {
	if milli == nil || *milli == math.MaxInt64 {
		return time.Time{}
	}
	return time.UnixMilli(*milli + 1).UTC()
}

// eventID names an event among those of its group, the same on every read: clients that poll drop by it what they have.
func eventID(e platform.StoredEvent) string {
	return fmt.Sprintf("%016d%020d%020d", e.Timestamp.UnixMilli(), fingerprint(e.Stream), e.Position)
}
