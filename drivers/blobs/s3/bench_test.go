package s3_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stint-ml/stint/platform"
)

// The driver against the embedded store in one process: what both cost together. Run with -cpu 2 -benchtime 10000x for
// the case of many small files.

const small = 16 << 10

func BenchmarkSmallUpload(b *testing.B) {
	blobs, bucket := newBlobs(b, store.Endpoint(), "AKIAROOT"), newBucket(b)
	data := make([]byte, small)
	var n atomic.Int64
	b.SetBytes(small)
	b.SetParallelism(16)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1)
			u := platform.URI(fmt.Sprintf("s3://%s/%d/%d", bucket, i%100, i))
			if err := blobs.Upload(b.Context(), u, bytes.NewReader(data)); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkSmallOpen(b *testing.B) {
	blobs, bucket := newBlobs(b, store.Endpoint(), "AKIAROOT"), newBucket(b)
	const objects = 100
	for i := range objects {
		if err := blobs.Upload(b.Context(), platform.URI(fmt.Sprintf("s3://%s/%d", bucket, i)), bytes.NewReader(make([]byte, small))); err != nil {
			b.Fatal(err)
		}
	}
	var n atomic.Int64
	b.SetBytes(small)
	b.SetParallelism(16)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r, err := blobs.Open(b.Context(), platform.URI(fmt.Sprintf("s3://%s/%d", bucket, n.Add(1)%objects)), 0, -1)
			if err != nil {
				b.Error(err)
				return
			}
			if _, err := io.Copy(io.Discard, r); err != nil {
				b.Error(err)
			}
			_ = r.Close()
		}
	})
}

func BenchmarkLarge(b *testing.B) {
	const size = 512 << 20
	blobs, bucket := newBlobs(b, store.Endpoint(), "AKIAROOT"), newBucket(b)
	u := platform.URI("s3://" + bucket + "/large")
	f, err := os.Create(filepath.Join(b.TempDir(), "large"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	chunk := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for range size / len(chunk) {
		if _, err := f.Write(chunk); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("upload", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			if _, err := f.Seek(0, io.SeekStart); err != nil {
				b.Fatal(err)
			}
			if err := blobs.Upload(b.Context(), u, f); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("download", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			if err := blobs.Download(b.Context(), platform.BlobInfo{URI: u, Size: size}, f); err != nil {
				b.Fatal(err)
			}
		}
	})
}
