package store

import (
	"bytes"
	"maps"
	"time"

	"github.com/stint-ml/stint/platform"
)

// CheckTx finds what is wrong with a transaction whatever the store holds: an unnamed key, a key that is changed twice,
// a ledger entry that is appended twice.
func CheckTx(tx platform.Tx) error {
	keys := make(map[platform.Key]bool, len(tx.Puts)+len(tx.Deletes))
	check := func(k platform.Key, revision int64) error {
		switch {
		case k.Kind == "" || k.Name == "":
			return platform.Errorf(platform.Invalid, k.Name, "record %s/%s needs a kind and a name", k.Kind, k.Name)
		case revision < 0:
			return platform.Errorf(platform.Invalid, k.Name, "record %s/%s: revision %d is below 0", k.Kind, k.Name, revision)
		case keys[k]:
			return platform.Errorf(platform.Invalid, k.Name, "record %s/%s is changed twice in one transaction", k.Kind, k.Name)
		}
		keys[k] = true
		return nil
	}
	for _, p := range tx.Puts {
		if err := check(p.Record.Key, p.Record.Revision); err != nil {
			return err
		}
	}
	for _, d := range tx.Deletes {
		if err := check(d.Key, d.Revision); err != nil {
			return err
		}
	}
	ids := make(map[string]bool, len(tx.Ledger))
	for _, e := range tx.Ledger {
		if ids[e.ID()] {
			return DuplicateEntry(e)
		}
		ids[e.ID()] = true
	}
	return nil
}

// CheckRevision judges a change of the record that is at revision have (0 when there is none), written by somebody who
// saw want. A Delete always expects a record.
func CheckRevision(k platform.Key, have, want int64, deletes bool) error {
	switch {
	case have == want && !(deletes && want == 0):
		return nil
	case want == 0 && !deletes:
		return platform.Errorf(platform.AlreadyExists, k.Name, "%s %s already exists", k.Kind, k.Name)
	case have == 0:
		return platform.Errorf(platform.Conflict, k.Name, "%s %s is gone; revision %d was expected", k.Kind, k.Name, want)
	}
	return platform.Errorf(platform.Conflict, k.Name, "%s %s is at revision %d; revision %d was expected", k.Kind, k.Name, have, want)
}

// DuplicateEntry is the error of a ledger entry that is there already.
func DuplicateEntry(e platform.LedgerEntry) error {
	return platform.Errorf(platform.AlreadyExists, e.ID(), "ledger entry %s already exists", e.ID())
}

// NoRecord is the error of a record that is not there.
func NoRecord(k platform.Key) error {
	return platform.Errorf(platform.NotFound, k.Name, "%s %s does not exist", k.Kind, k.Name)
}

// KeysOf lists what a transaction changes.
func KeysOf(tx platform.Tx) []platform.Key {
	keys := make([]platform.Key, 0, len(tx.Puts)+len(tx.Deletes))
	for _, p := range tx.Puts {
		keys = append(keys, p.Record.Key)
	}
	for _, d := range tx.Deletes {
		keys = append(keys, d.Key)
	}
	return keys
}

// Selects reports whether a ledger entry answers the query.
func Selects(q platform.LedgerQuery, e platform.LedgerEntry) bool {
	return (q.Resource == "" || e.Resource == q.Resource) &&
		(q.From.IsZero() || !e.At.Before(q.From)) &&
		(q.Until.IsZero() || e.At.Before(q.Until))
}

// Clone gives a record that shares nothing with r, and looks as it does when it comes from a disk.
func Clone(r platform.Record) platform.Record {
	r.Doc = bytes.Clone(r.Doc)
	if r.Tags = maps.Clone(r.Tags); len(r.Tags) == 0 {
		r.Tags = nil
	}
	r.Created = r.Created.UTC().Truncate(time.Microsecond)
	r.Modified = r.Modified.UTC().Truncate(time.Microsecond)
	return r
}
