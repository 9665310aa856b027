package logs_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/api/logs"
	"github.com/stint-ml/stint/drivers/store/memory"
	"github.com/stint-ml/stint/drivers/telemetry/sqlite"
)

// client is AWS's own, against logs that are kept on disk.
func client(t *testing.T) (*cloudwatchlogs.Client, time.Time) {
	t.Helper()
	d := apitest.Open(t, memory.New(), func(d *apitest.Door) []*api.Service {
		store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "telemetry.db"), d.Clock)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close() })
		return []*api.Service{logs.New(store)}
	})
	return cloudwatchlogs.New(cloudwatchlogs.Options{
		Region: apitest.Site.Region, BaseEndpoint: &d.URL, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(d.Root.ID, d.Root.Secret, ""),
	}), now(d)
}

func put(ctx context.Context, c *cloudwatchlogs.Client, stream string, at time.Time, messages ...string) error {
	in := &cloudwatchlogs.PutLogEventsInput{LogGroupName: aws.String("g"), LogStreamName: &stream}
	for _, m := range messages {
		in.LogEvents = append(in.LogEvents, types.InputLogEvent{Timestamp: aws.Int64(at.UnixMilli()), Message: &m})
	}
	_, err := c.PutLogEvents(ctx, in)
	return err
}

// group makes group g, with stream s in it.
func group(t *testing.T, c *cloudwatchlogs.Client) {
	t.Helper()
	_, err1 := c.CreateLogGroup(t.Context(), &cloudwatchlogs.CreateLogGroupInput{LogGroupName: aws.String("g")})
	_, err2 := c.CreateLogStream(t.Context(), &cloudwatchlogs.CreateLogStreamInput{LogGroupName: aws.String("g"), LogStreamName: aws.String("s")})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
}

// paginator is any of the SDK's.
type paginator[Page, Option any] interface {
	HasMorePages() bool
	NextPage(context.Context, ...func(*Option)) (Page, error)
}

// each visits all pages.
func each[Page, Option any](t *testing.T, p paginator[Page, Option], visit func(Page)) {
	t.Helper()
	for p.HasMorePages() {
		page, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		visit(page)
	}
}

// events pages through stream s from in on, to where the token no longer changes.
func events(c *cloudwatchlogs.Client, in *cloudwatchlogs.GetLogEventsInput) *cloudwatchlogs.GetLogEventsPaginator {
	in.LogGroupName, in.LogStreamName, in.StartFromHead = aws.String("g"), aws.String("s"), aws.Bool(true)
	return cloudwatchlogs.NewGetLogEventsPaginator(c, in, func(o *cloudwatchlogs.GetLogEventsPaginatorOptions) { o.StopOnDuplicateToken = true })
}

// The SDK's paginator follows a stream that somebody else writes at the same time, in pages of any size.
func TestSDKFollowsAGrowingStream(t *testing.T) {
	t.Parallel()
	c, at := client(t)
	ctx := t.Context()
	group(t, c)
	const batches, size = 20, 25
	written := make(chan error, 1)
	go func() {
		var err error
		for b := range batches {
			lines := make([]string, size)
			for i := range lines {
				lines[i] = fmt.Sprint("line ", b*size+i)
			}
			err = errors.Join(err, put(ctx, c, "s", at, lines...))
		}
		written <- err
	}()
	var read []string
	in := &cloudwatchlogs.GetLogEventsInput{Limit: aws.Int32(7)}
	for done := false; ; {
		each(t, events(c, in), func(page *cloudwatchlogs.GetLogEventsOutput) {
			for _, e := range page.Events {
				read = append(read, *e.Message)
			}
			in.NextToken = page.NextForwardToken
		})
		if done {
			break
		}
		select {
		case err := <-written:
			if done = true; err != nil {
				t.Fatal(err)
			}
		default:
		}
	}
	if len(read) != batches*size {
		t.Fatalf("%d lines of %d", len(read), batches*size)
	}
	for i, line := range read {
		if line != fmt.Sprint("line ", i) {
			t.Fatalf("line %d is %q", i, line)
		}
	}
}

// Limits of bytes, in AWS's words, and a page that they cut.
func TestSDKLimits(t *testing.T) {
	t.Parallel()
	c, at := client(t)
	ctx := t.Context()
	group(t, c)
	half := strings.Repeat("\x01", 1<<19-26) // six bytes each in JSON
	if err := errors.Join(put(ctx, c, "s", at, half, half), put(ctx, c, "s", at, half, strings.Repeat("y", 1<<19-26))); err != nil {
		t.Fatal(err)
	}
	for message, batch := range map[string][]string{
		"Log event too large: 1048577 bytes exceeds limit of 1048576": {strings.Repeat("z", 1<<20-25)},
		"Upload too large: 1048577 bytes exceeds limit of 1048576":    {half, half + "z"},
	} {
		err := put(ctx, c, "s", at, batch...)
		var invalid *types.InvalidParameterException
		if !errors.As(err, &invalid) || invalid.ErrorMessage() != message {
			t.Errorf("%v instead of %s", err, message)
		}
	}
	var lengths []int
	each(t, events(c, &cloudwatchlogs.GetLogEventsInput{}), func(page *cloudwatchlogs.GetLogEventsOutput) { lengths = append(lengths, len(page.Events)) })
	if !slices.Equal(lengths, []int{2, 2, 0}) {
		t.Errorf("pages of %v events", lengths)
	}
}

// Lists and search through the SDK's paginators.
func TestSDKListsAndSearches(t *testing.T) {
	t.Parallel()
	c, at := client(t)
	ctx := t.Context()
	_, err := c.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: aws.String("g")})
	const streams = 120
	for i := range streams {
		name := fmt.Sprintf("job/%03d", i)
		_, created := c.CreateLogStream(ctx, &cloudwatchlogs.CreateLogStreamInput{LogGroupName: aws.String("g"), LogStreamName: &name})
		err = errors.Join(err, created, put(ctx, c, name, at.Add(time.Duration(streams-i)*time.Millisecond), fmt.Sprintf(`{"n":%d}`, i), "noise"))
	}
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	listing := cloudwatchlogs.NewDescribeLogStreamsPaginator(c, &cloudwatchlogs.DescribeLogStreamsInput{LogGroupName: aws.String("g"), OrderBy: types.OrderByLastEventTime})
	each(t, listing, func(page *cloudwatchlogs.DescribeLogStreamsOutput) {
		for _, s := range page.LogStreams {
			names = append(names, *s.LogStreamName)
		}
	})
	slices.Reverse(names) // the first got the last event
	if len(names) != streams || !slices.IsSorted(names) {
		t.Errorf("%d streams: %v", len(names), names)
	}
	var found []string
	search := cloudwatchlogs.NewFilterLogEventsPaginator(c, &cloudwatchlogs.FilterLogEventsInput{
		LogGroupName: aws.String("g"), LogStreamNamePrefix: aws.String("job/"), FilterPattern: aws.String("{ $.n >= 100 }"), Limit: aws.Int32(6),
	})
	each(t, search, func(page *cloudwatchlogs.FilterLogEventsOutput) {
		for _, e := range page.Events {
			found = append(found, *e.Message)
		}
	})
	if len(found) != 20 || found[0] != `{"n":119}` || found[19] != `{"n":100}` {
		t.Errorf("found %v", found)
	}
}

// What a group is, and what is missing, in the SDK's types.
func TestSDKTypes(t *testing.T) {
	t.Parallel()
	c, at := client(t)
	ctx := t.Context()
	group(t, c)
	_, err := c.PutRetentionPolicy(ctx, &cloudwatchlogs.PutRetentionPolicyInput{LogGroupName: aws.String("g"), RetentionInDays: aws.Int32(7)})
	if err := errors.Join(err, put(ctx, c, "s", at, "text")); err != nil {
		t.Fatal(err)
	}
	groups, err := c.DescribeLogGroups(ctx, &cloudwatchlogs.DescribeLogGroupsInput{})
	if err != nil || len(groups.LogGroups) != 1 || *groups.LogGroups[0].RetentionInDays != 7 || *groups.LogGroups[0].StoredBytes == 0 {
		t.Errorf("groups %+v, %v", groups, err)
	}
	_, err = c.GetLogEvents(ctx, &cloudwatchlogs.GetLogEventsInput{LogGroupName: aws.String("g"), LogStreamName: aws.String("none")})
	var missing *types.ResourceNotFoundException
	if !errors.As(err, &missing) {
		t.Errorf("a missing stream: %v", err)
	}
}
