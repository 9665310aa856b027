package s3

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/stint-ml/stint/platform"
)

// How long transient faults are tried again, and how far attempts lie apart. The SDK's own retries are off: they count
// attempts, while a store that restarts is a matter of time.
const (
	patience   = time.Minute
	firstPause = 50 * time.Millisecond
	longPause  = 5 * time.Second
)

// verdict is what an error means and what to do about it.
type verdict struct {
	kind      platform.ErrorKind
	transient bool
	renew     bool // the credentials were refused as such; others may do
	message   string
}

// byCode is the meaning of S3's error codes, where the HTTP status does not tell enough.
var byCode = map[string]verdict{
	"NoSuchKey":                   {kind: platform.NotFound},
	"NoSuchBucket":                {kind: platform.NotFound},
	"NotFound":                    {kind: platform.NotFound},
	"ExpiredToken":                {kind: platform.Denied, renew: true},
	"InvalidToken":                {kind: platform.Denied, renew: true},
	"InvalidAccessKeyId":          {kind: platform.Denied, renew: true},
	"TokenRefreshRequired":        {kind: platform.Denied, renew: true},
	"RequestTimeout":              {kind: platform.Unavailable, transient: true},
	"IncompleteBody":              {kind: platform.Unavailable, transient: true},
	"BadDigest":                   {kind: platform.Unavailable, transient: true},
	"XAmzContentChecksumMismatch": {kind: platform.Unavailable, transient: true},
	"OperationAborted":            {kind: platform.Unavailable, transient: true},
	"NoSuchUpload":                {kind: platform.Unavailable},
	"PreconditionFailed":          {kind: platform.Conflict},
}

// classify reads an error of the SDK. Whatever has no HTTP status did not reach the store or lost its answer.
func classify(err error, action string, u platform.URI) verdict {
	if err == nil {
		return verdict{}
	}
	var mine *platform.Error
	if errors.As(err, &mine) {
		return verdict{kind: mine.Kind, transient: mine.Kind == platform.Unavailable, message: mine.Message}
	}
	status, code := 0, ""
	var response *awshttp.ResponseError
	if errors.As(err, &response) {
		status = response.HTTPStatusCode()
	}
	var api smithy.APIError
	detail := err.Error()
	if errors.As(err, &api) {
		code, detail = api.ErrorCode(), api.ErrorCode()
		if api.ErrorMessage() != "" {
			detail += ": " + api.ErrorMessage()
		}
	}
	v, known := byCode[code]
	if !known {
		v = byStatus(status)
	}
	switch v.kind {
	case platform.NotFound:
		v.message = fmt.Sprintf("%s does not exist (%s)", u, detail)
		if code == "NoSuchBucket" {
			v.message = noSuchBucket(u, err).Message
		}
	case platform.Denied:
		v.message = fmt.Sprintf("%s on %s was refused: %s", action, u, detail)
	case platform.Conflict:
		v.message = fmt.Sprintf("%s: %v", u, errChanged)
	default:
		v.message = fmt.Sprintf("%s on %s failed: %s", action, u, detail)
	}
	return v
}

func byStatus(status int) verdict {
	switch {
	case status == http.StatusNotFound:
		return verdict{kind: platform.NotFound}
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return verdict{kind: platform.Denied}
	case status == http.StatusPreconditionFailed:
		return verdict{kind: platform.Conflict}
	case status == 0, status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		return verdict{kind: platform.Unavailable, transient: true}
	case status >= 400:
		return verdict{kind: platform.Invalid}
	default:
		// An answer that could not be read to its end or understood.
		return verdict{kind: platform.Unavailable, transient: true}
	}
}

func noSuchBucket(u platform.URI, cause error) *platform.Error {
	bucket, _, _ := u.Split()
	e := platform.Errorf(platform.NotFound, string(u), "the bucket of %s does not exist: create s3://%s first", u, bucket)
	e.Cause = cause
	return e
}

// attempts counts the tries of one piece of work: a call, a range, a stream.
type attempts struct {
	b       *Blobs
	action  string
	u       platform.URI
	since   time.Time // of the first failure in a row
	pause   time.Duration
	renewed bool
}

// progress forgets earlier failures, as something came through.
func (a *attempts) progress() { a.since, a.pause = time.Time{}, 0 }

// again decides after a failure: nil means try again, and that the pause is over; else it is the error to give up with.
func (a *attempts) again(ctx context.Context, err error) error {
	v := classify(err, a.action, a.u)
	give := &platform.Error{Kind: v.kind, Resource: string(a.u), Message: v.message, Cause: err}
	if ctx.Err() != nil {
		return &platform.Error{Kind: platform.Unavailable, Resource: string(a.u), Message: fmt.Sprintf("%s on %s: %v", a.action, a.u, context.Cause(ctx)), Cause: ctx.Err()}
	}
	if v.renew && !a.renewed {
		a.renewed = true
		a.b.creds.Invalidate()
		return nil
	}
	if !v.transient {
		return give
	}
	if a.since.IsZero() {
		a.since, a.pause = time.Now(), firstPause
	}
	if time.Since(a.since)+a.pause > patience {
		return give
	}
	timer := time.NewTimer(a.pause/2 + rand.N(a.pause))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return a.again(ctx, err)
	}
	a.pause = min(2*a.pause, longPause)
	return nil
}

// retry calls f until it succeeds or there is no point in trying any more.
func (b *Blobs) retry(ctx context.Context, action string, u platform.URI, f func(context.Context) error) error {
	a := attempts{b: b, action: action, u: u}
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		if err := a.again(ctx, err); err != nil {
			return err
		}
	}
}
