package memory_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stint-ml/stint/drivers/blobs/blobstest"
	"github.com/stint-ml/stint/drivers/blobs/memory"
	"github.com/stint-ml/stint/platform"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	blobstest.Run(t, func(*testing.T) blobstest.Store {
		return blobstest.Store{Blobs: memory.New("bucket"), Bucket: "bucket"}
	})
}

func TestFault(t *testing.T) {
	t.Parallel()
	b := memory.New("bucket")
	away := errors.New("away")
	b.Fault = func(method string, u platform.URI) error {
		if method == "Upload" && strings.HasSuffix(string(u), "bad") {
			return away
		}
		return nil
	}
	if err := b.Upload(t.Context(), "s3://bucket/bad", strings.NewReader("x")); !errors.Is(err, away) {
		t.Errorf("got %v", err)
	}
	if err := b.Upload(t.Context(), "s3://bucket/good", strings.NewReader("x")); err != nil {
		t.Errorf("got %v", err)
	}
}
