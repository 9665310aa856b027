package s3

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/versity/versitygw/backend"
	"github.com/versity/versitygw/backend/meta"
)

// An upload that a crash interrupted while it was completed must be there for the client's next attempt; one from before
// a restart of the machine must not.
func TestUploadsAfterACrash(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root := filepath.Join(dir, objectsDir)
	uploads := filepath.Join(root, "bucket", ".sgwtmp", "multipart", "0123abcd")
	const id, other = "11111111-2222-3333-4444-555555555555", "66666666-2222-3333-4444-555555555555"
	prepareUploads := func() {
		for _, name := range []string{id + ".0cc175b9c0f1b6a831c399e269772661-2.inprogress", other} {
			if err := os.MkdirAll(filepath.Join(uploads, name), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(uploads, name, "1"), []byte("part"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	exists := func(name string) bool {
		_, err := os.Stat(filepath.Join(uploads, name, "1"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return err == nil
	}

	prepareUploads()
	if err := recoverUploads(dir, root); err != nil { // never ran in this boot
		t.Fatal(err)
	}
	if exists(id) || exists(other) {
		t.Error("uploads outlived a restart of the machine")
	}
	prepareUploads()
	if err := recoverUploads(dir, root); err != nil {
		t.Fatal(err)
	}
	if !exists(id) || !exists(other) {
		t.Error("uploads did not outlive a restart of the process under their ids")
	}
}

// ext4 gives all attributes of a file some 4 KB.
func TestRecordsOfManyParts(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	equal := backend.MpUploadMetadata{UploadID: "id"}
	for i := range int64(10000) {
		equal.Parts = append(equal.Parts, (i+1)*(8<<20))
	}
	equal.Parts = append(equal.Parts, equal.Parts[9999]+123)
	value, err := backend.MarshalMpUploadMetadata(equal, false)
	if err != nil {
		t.Fatal(err)
	}
	a := attributes{}
	if err := a.StoreAttribute(nil, path, "", partsAttribute, value); err != nil {
		t.Fatalf("10,001 parts: %v", err)
	}
	read, err := a.RetrieveAttribute(nil, path, "", partsAttribute)
	if err != nil {
		t.Fatal(err)
	}
	got, err := backend.UnmarshalMpUploadMetadata(read, false)
	if err != nil || got.UploadID != "id" || !slices.Equal(got.Parts, equal.Parts) {
		t.Errorf("read back %d parts of %q, %v", len(got.Parts), got.UploadID, err)
	}
}

func TestRecordsOfUnevenParts(t *testing.T) {
	t.Parallel()
	a := attributes{}
	uneven := backend.MpUploadMetadata{UploadID: "id"}
	for i := range int64(2000) {
		uneven.Parts = append(uneven.Parts, i*i+i)
	}
	value, err := backend.MarshalMpUploadMetadata(uneven, false)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.StoreAttribute(nil, other, "", partsAttribute, value); err != nil {
		t.Errorf("what does not fit must be left out, not fail: %v", err)
	}
	if _, err := a.RetrieveAttribute(nil, other, "", partsAttribute); !errors.Is(err, meta.ErrNoSuchKey) {
		t.Errorf("got %v", err)
	}
}

func TestKeyedLocks(t *testing.T) {
	t.Parallel()
	var locks keyedLocks
	var wg sync.WaitGroup
	inside := map[string]*int{"a": new(int), "b": new(int)}
	for key, n := range inside {
		for range 100 {
			wg.Go(func() {
				defer locks.lock(key)()
				*n++ // the race detector sees a lock that does not
			})
		}
	}
	wg.Wait()
	if *inside["a"] != 100 || *inside["b"] != 100 || len(locks.held) != 0 {
		t.Errorf("%d, %d, %d locks left", *inside["a"], *inside["b"], len(locks.held))
	}
}

func TestPlainPrefix(t *testing.T) {
	t.Parallel()
	for prefix, want := range map[string]string{"": "", "/": "", "a": "a", "a/": "a/", "//a///b//": "a/b/", "a/../b": "a/../b", "a b/": "a b/"} {
		if got := plainPrefix(prefix); got != want {
			t.Errorf("%q: %q, want %q", prefix, got, want)
		}
	}
}
