package s3_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stint-ml/stint/agent/checkpoint"
	"github.com/stint-ml/stint/drivers/blobs/s3"
	"github.com/stint-ml/stint/platform"
)

// Checkpoints are what the driver composes objects for: a folder is shipped, changed, shipped again and restored, in the
// embedded store.
func TestCheckpointsInTheStore(t *testing.T) {
	t.Parallel()
	blobs, prefix := newBlobs(t, store.Endpoint(), "AKIAROOT"), platform.URI("s3://"+newBucket(t)+"/a job/ünï+")
	attempt := func(epoch int64) (*checkpoint.Syncer, string) {
		dir := filepath.Join(t.TempDir(), "checkpoints")
		s, err := checkpoint.New(checkpoint.Config{
			Dir: dir, State: t.TempDir(), Prefix: prefix, Host: "algo-1", Job: "arn:job", Epoch: epoch,
			Blobs: func() platform.Blobs { return blobs }, Notes: func(n string) { t.Errorf("said %q", n) }, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Restore(t.Context()); err != nil {
			t.Fatal(err)
		}
		return s, dir
	}
	final := func(s *checkpoint.Syncer) checkpoint.Generation {
		t.Helper()
		g, err := s.Final(t.Context(), false)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	large := make([]byte, 50<<20+7)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(large)
	s, dir := attempt(1)
	want := map[string][]byte{"epoch 1/model+.bin": large, "small": []byte("small"), "empty": {}, "a": []byte("a file")}
	put(t, dir, want)
	if g := final(s); g.Files != 4 || g.Shipped != int64(len(large)+5+6) {
		t.Errorf("the first: %+v", g)
	}
	// A changed stretch; a file in the place of a folder's name, which the store cannot keep beside it; a new name.
	large = bytes.Clone(large)
	large[20<<20]++
	delete(want, "a")
	want["a/b"], want["epoch 1/model+.bin"], want["large too"] = []byte("below"), large, large
	if err := errors.Join(os.Remove(filepath.Join(dir, "a")), os.Link(filepath.Join(dir, "epoch 1/model+.bin"), filepath.Join(dir, "large too"))); err != nil {
		t.Fatal(err)
	}
	put(t, dir, map[string][]byte{"a/b": []byte("below")})
	overwrite(t, filepath.Join(dir, "epoch 1/model+.bin"), large[20<<20:20<<20+1], 20<<20)
	if g := final(s); g.Files != 5 || g.Shipped > 2*8<<20+5 {
		t.Errorf("the second: %+v", g)
	}
	_, again := attempt(2)
	compare(t, again, want)
	s, dir = attempt(3)
	put(t, dir, map[string][]byte{"small": []byte("other")})
	want["small"] = []byte("other")
	final(s)
	compareFlat(t, blobs, prefix, want)
	_, again = attempt(4)
	compare(t, again, want)
}

func overwrite(t *testing.T, path string, data []byte, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(data, at); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

func compare(t *testing.T, dir string, want map[string][]byte) {
	t.Helper()
	for name, data := range want {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("restored %s: %d bytes, %v", name, len(got), err)
		}
	}
}

// compareFlat sees that the files lie under their names.
func compareFlat(t *testing.T, blobs *s3.Blobs, prefix platform.URI, want map[string][]byte) {
	t.Helper()
	for name, data := range want {
		u := platform.URI(fmt.Sprintf("%s/%s", prefix, name))
		info, err := blobs.Stat(t.Context(), u)
		if err != nil || info.Size != int64(len(data)) {
			t.Errorf("%s: %+v, %v", u, info, err)
			continue
		}
		got := &memoryFile{data: make([]byte, len(data))}
		if err := blobs.Download(t.Context(), info, got); err != nil || !bytes.Equal(got.data, data) {
			t.Errorf("%s holds something else, %v", u, err)
		}
	}
}
