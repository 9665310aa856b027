package store

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/drivers"
	"github.com/stint-ml/stint/platform"
)

// TestForgedTokens: whoever makes a token up, sum and all, gets an error or a page, never a panic.
func TestForgedTokens(t *testing.T) {
	t.Parallel()
	var index Index
	index.Apply(Change{Key: platform.Key{Kind: "k", Name: "a"}, State: "s"})
	rapid.Check(t, func(rt *rapid.T) {
		q := platform.Query{Kind: "k", Sort: rapid.SampledFrom([]platform.Sort{platform.ByCreated, platform.ByModified, platform.ByName, platform.ByState}).Draw(rt, "sort")}
		s, err := newSelection(q)
		if err != nil {
			rt.Fatal(err)
		}
		place := rapid.SliceOfN(rapid.Byte(), 0, 30).Draw(rt, "place")
		q.Token = drivers.SealToken(s.fingerprint(), place)
		if _, _, err := index.Select(q); err != nil && !platform.Is(err, platform.Invalid) {
			rt.Fatal(err)
		}
	})
}
