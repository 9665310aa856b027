package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"strings"
	"sync"
)

type signingKey [sha256.Size]byte

// deriveKey chains the scope into the secret: a derived key signs for one day,
// region and service only.
func deriveKey(secret string, scope *Scope) signingKey {
	key := mac([]byte("AWS4"+secret), []byte(scope.Date))
	key = mac(key[:], []byte(scope.Region))
	key = mac(key[:], []byte(scope.Service))
	return mac(key[:], []byte(terminator))
}

func mac(key, text []byte) signingKey {
	h := hmac.New(sha256.New, key)
	h.Write(text)
	var sum signingKey
	h.Sum(sum[:0])
	return sum
}

// signer computes MACs with one key. What hmac.New makes of the key is kept for the next text.
type signer struct{ ready sync.Pool }

func newSigner(key signingKey) *signer {
	return &signer{sync.Pool{New: func() any { return hmac.New(sha256.New, key[:]) }}}
}

func (s *signer) mac(text []byte) (sum signingKey) {
	h := s.ready.Get().(hash.Hash)
	h.Reset()
	h.Write(text)
	h.Sum(sum[:0])
	s.ready.Put(h)
	return sum
}

// keysPerGeneration bounds the cache to twice as many keys, about 4 MiB.
const keysPerGeneration = 2048

// keyCache remembers derived keys, which saves four HMACs a call. It forgets by
// generations: when the young one is full it becomes the old one, and the old
// one is dropped, so a key in use survives and the size is bounded. Only keys
// that verified a signature are stored, so strangers cannot fill it.
type keyCache struct {
	mu         sync.RWMutex
	young, old map[Scope]cachedKey
}

// cachedKey keeps the secret it was derived from: when an access key gets a
// new secret, what was derived from the former one must not verify any more.
type cachedKey struct {
	secret string
	key    *signer
}

func (c *keyCache) get(scope *Scope, secret string) (*signer, bool) {
	c.mu.RLock()
	entry, found := c.young[*scope]
	aged := false
	if !found {
		entry, found = c.old[*scope]
		aged = found
	}
	c.mu.RUnlock()
	if !found || entry.secret != secret {
		return nil, false
	}
	if aged {
		c.put(scope, secret, entry.key)
	}
	return entry.key, true
}

func (c *keyCache) put(scope *Scope, secret string, key *signer) {
	// The scope's strings are parts of a request; a stored one must not hold
	// the whole request in memory.
	kept := Scope{
		AccessKey: strings.Clone(scope.AccessKey),
		Date:      strings.Clone(scope.Date),
		Region:    strings.Clone(scope.Region),
		Service:   strings.Clone(scope.Service),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.young == nil || len(c.young) >= keysPerGeneration {
		c.young, c.old = make(map[Scope]cachedKey), c.young
	}
	c.young[kept] = cachedKey{secret: secret, key: key}
}
