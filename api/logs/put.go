package logs

import (
	"context"
	"time"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
	model "github.com/stint-ml/stint/shapes/logs"
)

// Limits of PutLogEvents, from its page in the API reference; 10,000 events is the model's to check.
const (
	maxBatchBytes = 1 << 20
	maxEventBytes = 1 << 20
	eventOverhead = 26 // bytes that each event counts beside its message
	maxSpan       = 24 * time.Hour
	maxAge        = 14 * 24 * time.Hour
	maxAhead      = 2 * time.Hour
)

func (s *service) putLogEvents(ctx context.Context, call *api.Call, in *model.PutLogEventsRequest) (*model.PutLogEventsResponse, error) {
	if err := checkBatch(in.LogEvents); err != nil {
		return nil, err
	}
	group, err := s.group(ctx, *in.LogGroupName)
	if err != nil {
		return nil, err
	}
	accepted, rejected := sift(in.LogEvents, call.Now, group.RetentionDays)
	if n := len(accepted); n > 0 && *accepted[n-1].Timestamp-*accepted[0].Timestamp > maxSpan.Milliseconds() {
		return nil, platform.Errorf(platform.Invalid, *in.LogStreamName, "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.")
	}
	batch := platform.LogBatch{Group: *in.LogGroupName, Stream: *in.LogStreamName, Events: make([]platform.LogEvent, len(accepted))}
	for i, e := range accepted {
		batch.Events[i] = platform.LogEvent{Timestamp: time.UnixMilli(*e.Timestamp).UTC(), Message: *e.Message}
	}
	// A batch of which nothing is left goes to the store as well, which knows whether the stream exists.
	if err := s.store.Append(ctx, batch); err != nil {
		return nil, s.missing(ctx, err, batch.Group, batch.Stream)
	}
	return &model.PutLogEventsResponse{NextSequenceToken: new(sequenceToken(batch.Group, batch.Stream)), RejectedLogEventsInfo: rejected}, nil
}

// checkBatch refuses what AWS refuses as a whole.
func checkBatch(events []model.InputLogEvent) error {
	total, last := 0, int64(0)
	for _, e := range events {
		size := len(*e.Message) + eventOverhead
		if size > maxEventBytes {
			return platform.Errorf(platform.Invalid, "", "Log event too large: %d bytes exceeds limit of %d", size, maxEventBytes)
		}
		if *e.Timestamp < last {
			return platform.Errorf(platform.Invalid, "", "Log events in a single PutLogEvents request must be in chronological order.")
		}
		total, last = total+size, *e.Timestamp
	}
	if total > maxBatchBytes {
		return platform.Errorf(platform.Invalid, "", "Upload too large: %d bytes exceeds limit of %d", total, maxBatchBytes)
	}
	return nil
}

// sift splits events, which are in order of time, into those to keep and those that are too old or too new.
func sift(events []model.InputLogEvent, now time.Time, retentionDays int) ([]model.InputLogEvent, *model.RejectedLogEventsInfo) {
	before := func(t time.Time) int {
		n := 0
		for n < len(events) && *events[n].Timestamp < t.UnixMilli() {
			n++
		}
		return n
	}
	var rejected model.RejectedLogEventsInfo
	from, to := before(now.Add(-maxAge)), before(now.Add(maxAhead+time.Millisecond))
	if from > 0 {
		rejected.TooOldLogEventEndIndex = new(int32(from))
	}
	if retentionDays > 0 {
		if expired := before(now.AddDate(0, 0, -retentionDays)); expired > 0 {
			rejected.ExpiredLogEventEndIndex = new(int32(expired))
			from = max(from, expired)
		}
	}
	if to < len(events) {
		rejected.TooNewLogEventStartIndex = new(int32(to))
	}
	if rejected == (model.RejectedLogEventsInfo{}) {
		return events, nil
	}
	return events[from:to], &rejected
}
