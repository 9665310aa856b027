package sqlite

import (
	"encoding/json"

	"github.com/stint-ml/stint/drivers"
	"github.com/stint-ml/stint/drivers/store"
	"github.com/stint-ml/stint/platform"
)

// commit is one platform.Tx on its way into the database.
type commit struct {
	tx     platform.Tx
	keys   []platform.Key
	cache  *cache
	begun  bool  // the cache knows that the keys are about to change
	tags   []any // of each Put, as JSON or nil
	ledger []string
	docs   []int64 // docs.id of each Put, then of each Delete; 0 for a record that is new
}

// encode is done by the caller's goroutine, so that the one writer has less to do.
func (c *commit) encode() error {
	for _, p := range c.tx.Puts {
		if len(p.Record.Tags) == 0 {
			c.tags = append(c.tags, nil)
			continue
		}
		text, err := json.Marshal(p.Record.Tags)
		if err != nil {
			return err
		}
		c.tags = append(c.tags, string(text))
	}
	for _, e := range c.tx.Ledger {
		e.At = e.At.UTC()
		text, err := json.Marshal(e)
		if err != nil {
			return platform.Errorf(platform.Invalid, e.ID(), "ledger entry %s cannot be written down: %w", e.ID(), err)
		}
		c.ledger = append(c.ledger, string(text))
	}
	return nil
}

// apply finds all that forbids the change before it writes anything.
func (c *commit) apply(t *drivers.Tx) error {
	if err := c.check(t); err != nil {
		return err
	}
	if !c.begun { // apply may run again
		c.begun = true
		c.cache.begin(c.keys)
	}
	for i, p := range c.tx.Puts {
		if err := c.put(t, p.Record, c.tags[i], c.docs[i]); err != nil {
			return err
		}
	}
	for i, d := range c.tx.Deletes {
		if _, err := t.Exec("DELETE FROM records WHERE kind=? AND name=?", string(d.Key.Kind), d.Key.Name); err != nil {
			return err
		}
		if _, err := t.Exec("DELETE FROM docs WHERE id=?", c.docs[len(c.tx.Puts)+i]); err != nil {
			return err
		}
	}
	for i, e := range c.tx.Ledger {
		if _, err := t.Exec("INSERT INTO ledger(id, line, resource, at, doc) VALUES(?,?,?,?,?)",
			e.ID(), e.Line, string(e.Resource), e.At.UnixMicro(), c.ledger[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c *commit) check(t *drivers.Tx) error {
	c.docs = c.docs[:0]
	check := func(k platform.Key, want int64, deletes bool) error {
		var have, doc int64
		if _, err := t.QueryRow("SELECT revision, doc FROM records WHERE kind=? AND name=?", []any{string(k.Kind), k.Name}, &have, &doc); err != nil {
			return err
		}
		c.docs = append(c.docs, doc)
		return store.CheckRevision(k, have, want, deletes)
	}
	for _, p := range c.tx.Puts {
		if err := check(p.Record.Key, p.Record.Revision, false); err != nil {
			return err
		}
	}
	for _, d := range c.tx.Deletes {
		if err := check(d.Key, d.Revision, true); err != nil {
			return err
		}
	}
	for _, e := range c.tx.Ledger {
		var seq int64
		if found, err := t.QueryRow("SELECT seq FROM ledger WHERE id=?", []any{e.ID()}, &seq); err != nil {
			return err
		} else if found {
			return store.DuplicateEntry(e)
		}
	}
	return nil
}

func (c *commit) put(t *drivers.Tx, r platform.Record, tags any, doc int64) error {
	created, modified := r.Created.UnixMicro(), r.Modified.UnixMicro()
	if doc == 0 {
		result, err := t.Exec("INSERT INTO docs(tags, doc) VALUES(?,?)", tags, r.Doc)
		if err != nil {
			return err
		}
		if doc, err = result.LastInsertId(); err != nil {
			return err
		}
		_, err = t.Exec("INSERT INTO records(kind, name, revision, state, created, modified, doc) VALUES(?,?,?,?,?,?,?)",
			string(r.Kind), r.Name, 1, r.State, created, modified, doc)
		return err
	}
	if _, err := t.Exec("UPDATE records SET revision=?, state=?, created=?, modified=? WHERE kind=? AND name=?",
		r.Revision+1, r.State, created, modified, string(r.Kind), r.Name); err != nil {
		return err
	}
	_, err := t.Exec("UPDATE docs SET tags=?, doc=? WHERE id=?", tags, r.Doc, doc)
	return err
}
