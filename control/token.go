package control

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strconv"
	"strings"

	"github.com/stint-ml/stint/platform"
)

// TokenKey signs the tokens by which agents prove which attempt they are. Tokens are derived, not stored: after a crash
// between writing an attempt down and starting its agent the same token can be made again.
type TokenKey [32]byte

// tokenKeyRecord is where the key is kept: one for the installation.
var tokenKeyRecord = platform.Key{Kind: "agent-token-key", Name: "key"}

// LoadTokenKey reads the installation's key, making it on the first start.
func LoadTokenKey(ctx context.Context, store platform.Store, random io.Reader, clock platform.Clock) (TokenKey, error) {
	var key TokenKey
	rec, err := store.Get(ctx, tokenKeyRecord)
	if platform.Is(err, platform.NotFound) {
		if _, err = io.ReadFull(random, key[:]); err != nil {
			return key, platform.Errorf(platform.Internal, "", "make the agents' token key: %w", err)
		}
		now := clock.Now()
		rec = platform.Record{Key: tokenKeyRecord, Created: now, Modified: now, Doc: []byte(hex.EncodeToString(key[:]))}
		return key, store.Commit(ctx, platform.Tx{Puts: []platform.Put{{Record: rec}}})
	}
	if err != nil {
		return key, err
	}
	if raw, err := hex.DecodeString(string(rec.Doc)); err != nil || copy(key[:], raw) != len(key) {
		return key, platform.Errorf(platform.Internal, "", "the agents' token key in the store is damaged")
	}
	return key, nil
}

// Token is what the agent of an attempt carries: kind.name.attempt.mac. The MAC covers the agent's id, which no other
// attempt of any job ever has.
func (k TokenKey) Token(kind platform.Kind, name string, attempt int, agent platform.AgentID) string {
	return strings.Join([]string{string(kind), name, strconv.Itoa(attempt), k.mac(agent)}, ".")
}

// Claim is what a token says of its bearer. It is to be believed only after Proves.
type Claim struct {
	Owner   platform.Key
	Attempt int // from 1
	mac     string
}

// ReadToken takes a token apart; Denied when it is not one.
func ReadToken(token string) (Claim, error) {
	p := strings.Split(token, ".")
	if len(p) != 4 {
		return Claim{}, platform.Errorf(platform.Denied, "", "this is not an agent's token")
	}
	n, err := strconv.Atoi(p[2])
	if err != nil || n < 1 {
		return Claim{}, platform.Errorf(platform.Denied, "", "this is not an agent's token")
	}
	return Claim{Owner: platform.Key{Kind: platform.Kind(p[0]), Name: p[1]}, Attempt: n, mac: p[3]}, nil
}

// Proves reports whether the claim was made with the key for the agent that its attempt has.
func (k TokenKey) Proves(c Claim, agent platform.AgentID) bool {
	return hmac.Equal([]byte(c.mac), []byte(k.mac(agent)))
}

func (k TokenKey) mac(agent platform.AgentID) string {
	h := hmac.New(sha256.New, k[:])
	h.Write([]byte(agent))
	return hex.EncodeToString(h.Sum(nil))
}
