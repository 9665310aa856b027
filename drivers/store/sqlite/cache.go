package sqlite

import (
	"hash/maphash"
	"sync"

	"github.com/stint-ml/stint/drivers/store"
	"github.com/stint-ml/stint/platform"
)

// cacheBytes bounds the cache: some 5,000 usual records. Clients ask for the same few jobs over and over.
const cacheBytes = 16 << 20

// cache holds records as they are in the database, some of those last read. This process is the only writer, so it can
// know when one is out of date: a key is dropped before the transaction that changes it commits, and nothing read
// from the database meanwhile is kept. So nobody can see a change and then, from here, the record before it.
type cache struct {
	seed   maphash.Seed
	shards [64]shard
}

type shard struct {
	mu      sync.Mutex
	records map[platform.Key]platform.Record
	bytes   int
	under   int    // changes of this shard's keys that have begun and not ended
	epoch   uint64 // how often a change has begun or ended
}

func newCache() *cache { return &cache{seed: maphash.MakeSeed()} }

func (c *cache) shard(k platform.Key) *shard {
	return &c.shards[maphash.Comparable(c.seed, k)%uint64(len(c.shards))]
}

// get gives a record, or else the epoch that keep wants to be told with what was then read from the database.
func (c *cache) get(k platform.Key) (r platform.Record, found bool, epoch uint64) {
	s := c.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	r, found = s.records[k]
	return r, found, s.epoch
}

// keep takes a record that was read after get gave the epoch. It must not be changed any more.
func (c *cache) keep(r platform.Record, epoch uint64) {
	size := sizeOf(r)
	s := c.shard(r.Key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.under > 0 || s.epoch != epoch || size > cacheBytes/len(c.shards) {
		return
	}
	if s.records == nil {
		s.records = map[platform.Key]platform.Record{}
	}
	s.drop(r.Key)
	for k := range s.records { // any will do: what is asked for often comes back
		if s.bytes+size <= cacheBytes/len(c.shards) {
			break
		}
		s.drop(k)
	}
	s.records[r.Key] = r
	s.bytes += size
}

func (s *shard) drop(k platform.Key) {
	if r, found := s.records[k]; found {
		s.bytes -= sizeOf(r)
		delete(s.records, k)
	}
}

// begin tells that the keys may change from now on, until end.
func (c *cache) begin(keys []platform.Key) {
	for _, k := range keys {
		s := c.shard(k)
		s.mu.Lock()
		s.under++
		s.epoch++
		s.drop(k)
		s.mu.Unlock()
	}
}

// end tells that they have changed or will not.
func (c *cache) end(keys []platform.Key) {
	for _, k := range keys {
		s := c.shard(k)
		s.mu.Lock()
		s.under--
		s.epoch++
		s.mu.Unlock()
	}
}

// sizeOf counts a record with about what the map needs for it.
func sizeOf(r platform.Record) int {
	n := 256 + len(r.Kind) + len(r.Name) + len(r.State) + len(r.Doc)
	for k, v := range r.Tags {
		n += 64 + len(k) + len(v)
	}
	return n
}

// read gives a record to be the caller's own.
func (s *Store) read(k platform.Key) (platform.Record, bool, error) {
	r, found, epoch := s.cache.get(k)
	if !found {
		var err error
		if r, found, err = s.readFile(k); err != nil || !found {
			return platform.Record{}, false, err
		}
		s.cache.keep(r, epoch)
	}
	return store.Clone(r), true, nil
}
