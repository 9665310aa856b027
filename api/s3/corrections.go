package s3

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/gofiber/fiber/v3"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/s3api/utils"
	"github.com/versity/versitygw/s3err"
	"github.com/versity/versitygw/s3response"
)

// correct goes around every call: it refuses keys that files cannot stand for, and sends each request id once.
func correct(c fiber.Ctx) error {
	if message := unkeepable(string(c.Request().URI().PathOriginal())); message != "" {
		return refuse(c, s3err.APIError{Code: "InvalidArgument", Description: message, HTTPStatusCode: http.StatusBadRequest})
	}
	err := c.Next()
	headers := &c.Response().Header
	for _, name := range []string{utils.HeaderAmzRequestID, utils.HeaderAmzID2} {
		if value := string(headers.Peek(name)); value != "" {
			// The gateway switches the normalising of names off on its way, so that one is there in two spellings.
			headers.Del(http.CanonicalHeaderKey(name))
			headers.Del(strings.ToLower(name))
			headers.Set(strings.ToLower(name), value)
		}
	}
	return err
}

// unkeepable tells what is wrong with a key whose file would be another key's or the store's own. Repeated slashes are
// not: clients make them by joining paths, and a//b is the same object as a/b here.
func unkeepable(path string) string {
	if !strings.Contains(path, ".") && !strings.Contains(path, "%") {
		return ""
	}
	plain, err := url.PathUnescape(path)
	if err != nil {
		return "" // the gateway has its own words for it
	}
	_, key, _ := strings.Cut(strings.TrimPrefix(plain, "/"), "/")
	for segment := range strings.SplitSeq(key, "/") {
		switch segment {
		case ".", "..":
			return "The key has a segment " + segment + ", which this store cannot keep: objects are files here."
		case posix.MetaTmpDir:
			return "The key has a segment " + segment + ", which this store keeps for itself."
		}
	}
	return ""
}

// explain words the refusal of a key beside another one that files do not allow: a file cannot be a folder too.
func explain(err error, key *string) error {
	var told s3err.APIError
	switch {
	case key == nil:
		return err
	case errors.Is(err, s3err.GetAPIError(s3err.ErrObjectParentIsFile)):
		told = s3err.GetAPIError(s3err.ErrObjectParentIsFile)
		told.Description = "The key " + *key + " cannot be stored: a part of it before a slash is an object itself, and objects are files here."
	case errors.Is(err, s3err.GetAPIError(s3err.ErrExistingObjectIsDirectory)):
		told = s3err.GetAPIError(s3err.ErrExistingObjectIsDirectory)
		told.Description = "The key " + *key + " cannot be stored: there are objects below " + *key + "/, and objects are files here."
	default:
		return err
	}
	return told
}

// CreateMultipartUpload begins an upload in parts. A key that files do not allow is refused here, before the parts were
// sent, and not only when they are joined.
func (d *durable) CreateMultipartUpload(ctx context.Context, in s3response.CreateMultipartUploadInput) (s3response.InitiateMultipartUploadResult, error) {
	if in.Bucket != nil && in.Key != nil && !strings.HasSuffix(*in.Key, "/") {
		info, err := os.Stat(filepath.Join(d.root, *in.Bucket, *in.Key))
		switch {
		case errors.Is(err, syscall.ENOTDIR):
			return s3response.InitiateMultipartUploadResult{}, explain(s3err.GetAPIError(s3err.ErrObjectParentIsFile), in.Key)
		case err == nil && info.IsDir():
			return s3response.InitiateMultipartUploadResult{}, explain(s3err.GetAPIError(s3err.ErrExistingObjectIsDirectory), in.Key)
		}
	}
	return d.Posix.CreateMultipartUpload(ctx, in)
}

// alreadyMade tells whether an error means that the bucket is there and ours. In us-east-1, S3 takes that as success.
func (d *durable) alreadyMade(err error) bool {
	var e s3err.S3Error
	return d.region == "us-east-1" && errors.As(err, &e) && e.BaseError().Code == "BucketAlreadyOwnedByYou"
}

// DeleteObject removes an object for good. That there is none is success, also where its key is a folder of others.
func (d *durable) DeleteObject(ctx context.Context, in *s3.DeleteObjectInput) (*s3.DeleteObjectOutput, error) {
	out, err := d.Posix.DeleteObject(ctx, in)
	if errors.Is(err, s3err.GetAPIError(s3err.ErrDirectoryNotEmpty)) {
		return &s3.DeleteObjectOutput{}, nil
	}
	if err == nil {
		err = d.settle(*in.Bucket, *in.Key)
	}
	return out, err
}

// DeleteObjects removes objects for good. All folders are synchronised at once, however many they are.
func (d *durable) DeleteObjects(ctx context.Context, in *s3.DeleteObjectsInput) (s3response.DeleteResult, error) {
	out, err := d.Posix.DeleteObjects(ctx, in)
	if err != nil {
		return out, err
	}
	folder := s3err.GetAPIError(s3err.ErrDirectoryNotEmpty).Code
	out.Error = slices.DeleteFunc(out.Error, func(e types.Error) bool {
		if e.Code == nil || *e.Code != folder {
			return false
		}
		out.Deleted = append(out.Deleted, types.DeletedObject{Key: e.Key})
		return true
	})
	if len(out.Deleted) > 0 {
		err = syncFS(d.root)
	}
	return out, err
}

// plainPrefix is a prefix as files have it: without leading and repeated slashes.
func plainPrefix(prefix string) string {
	prefix = strings.TrimLeft(prefix, "/")
	for strings.Contains(prefix, "//") {
		prefix = strings.ReplaceAll(prefix, "//", "/")
	}
	return prefix
}
