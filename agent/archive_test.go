package agent

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

func gunzip(t testing.TB, zipped []byte) []byte {
	t.Helper()
	in, err := gzip.NewReader(bytes.NewReader(zipped))
	if err != nil {
		t.Fatal(err)
	}
	in.Multistream(false) // one member, for readers that know no more
	plain, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// mixed is text and noise by turns.
func mixed(n int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	var out []byte
	for len(out) < n {
		out = append(out, strings.Repeat("the quick brown fox ", 1+random.IntN(60_000))...)
		noise := make([]byte, random.IntN(1_500_000))
		for i := range noise {
			noise[i] = byte(random.Uint32())
		}
		out = append(out, noise...)
	}
	return out[:n]
}

func TestGzipRoundTrip(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 1000, blockBytes - 1, blockBytes, blockBytes + 1, 20 << 20} {
		data := mixed(n)
		z := newGzipReader(bytes.NewReader(data))
		zipped, err := io.ReadAll(z)
		z.close()
		if err != nil || !bytes.Equal(gunzip(t, zipped), data) {
			t.Errorf("%d bytes come back otherwise (%v)", n, err)
		}
		if n > 10<<20 && len(zipped) > n*9/10 {
			t.Errorf("%d bytes of half text became %d", n, len(zipped))
		}
	}
}

func TestGzipAnySource(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		data := rapid.SliceOfN(rapid.Byte(), 0, 200_000).Draw(rt, "data")
		z := newGzipReader(iotest.HalfReader(bytes.NewReader(data)))
		defer z.close()
		zipped, err := io.ReadAll(iotest.OneByteReader(z))
		if err != nil || !bytes.Equal(gunzip(t, zipped), data) {
			rt.Fatalf("%d bytes come back otherwise (%v)", len(data), err)
		}
	})
}

func TestGzipPassesFailuresOn(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	z := newGzipReader(io.MultiReader(bytes.NewReader(mixed(3<<20)), iotest.ErrReader(broken)))
	defer z.close()
	if _, err := io.ReadAll(z); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
