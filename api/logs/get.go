package logs

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	model "github.com/stint-ml/stint/shapes/logs"
)

// The largest page of events.
const (
	maxPageEvents = 10_000
	maxPageBytes  = 1 << 20
)

// getLogEvents reads a page of a stream and always gives both tokens. A token is a place between two events: the forward
// one lies behind the page's last event and the backward one before its first, and an empty page leaves both where they
// were. So whoever follows the forward tokens gets each event once, however the stream grows meanwhile, and the end of the
// stream is where a token comes back unchanged.
func (s *service) getLogEvents(ctx context.Context, call *api.Call, in *model.GetLogEventsRequest) (*model.GetLogEventsResponse, error) {
	group, err := groupName(call, in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	owner := fingerprint(group, *in.LogStreamName)
	at := place{forward: shapes.Value(in.StartFromHead)}
	if !at.forward {
		at.position = -1
	}
	if in.NextToken != nil {
		if at, err = parsePlace(owner, *in.NextToken); err != nil {
			return nil, err
		}
	}
	found, err := s.store.Read(ctx, platform.LogRead{
		Group: group, Stream: *in.LogStreamName, From: at.position, Forward: at.forward,
		Limit: limitOf(in.Limit, maxPageEvents), MaxBytes: maxPageBytes, Start: instant(in.StartTime), End: instant(in.EndTime),
	})
	if err != nil {
		return nil, s.missing(ctx, err, group, *in.LogStreamName)
	}
	first, behind := max(at.position, 0), max(at.position, 0)
	if n := len(found); n > 0 {
		first, behind = found[0].Position, found[n-1].Position+1
	}
	out := &model.GetLogEventsResponse{
		Events:            make([]model.OutputLogEvent, len(found)),
		NextForwardToken:  new(place{true, behind}.token(owner)),
		NextBackwardToken: new(place{false, first}.token(owner)),
	}
	for i, e := range found {
		out.Events[i] = model.OutputLogEvent{Timestamp: new(e.Timestamp.UnixMilli()), Message: &found[i].Message, IngestionTime: new(e.Ingested.UnixMilli())}
	}
	return out, nil
}

// place is before the event at a position, with a direction to read in. At −1, backward, it is the stream's end.
type place struct {
	forward  bool
	position int64
}

// token has AWS's form: f or b, 56 digits, s. The digits are the stream's fingerprint and the position.
func (p place) token(owner uint64) string {
	direction := "b"
	if p.forward {
		direction = "f"
	}
	return fmt.Sprintf("%s/%020d%036d/s", direction, owner, p.position)
}

func parsePlace(owner uint64, token string) (place, error) {
	prefix := fmt.Sprintf("/%020d", owner)
	if len(token) != 60 || token[0] != 'f' && token[0] != 'b' || !strings.HasPrefix(token[1:], prefix) || token[58:] != "/s" {
		return place{}, badToken(token)
	}
	position, err := strconv.ParseUint(token[1+len(prefix):58], 10, 63) // unsigned takes digits only
	if err != nil {
		return place{}, badToken(token)
	}
	return place{token[0] == 'f', int64(position)}, nil
}

// instant is zero, which does not bound, when absent.
func instant(milli *int64) time.Time {
	if milli == nil {
		return time.Time{}
	}
	return time.UnixMilli(*milli).UTC()
}
