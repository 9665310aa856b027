package platform

import (
	"context"
	"time"
)

// Kind names a family of records: "training-job", "iam-user".
type Kind string

// Key names one record.
type Key struct {
	Kind Kind
	Name string
}

// Record is a resource as the store sees it: an opaque document with a revision and the fields that lists filter on.
type Record struct {
	Key
	Revision int64     // 1 when created, +1 on every change; set by the store
	State    string    // indexed; the resource's own word for where it stands
	Created  time.Time // indexed; kept to the microsecond
	Modified time.Time // indexed; kept to the microsecond
	Tags     map[string]string
	Doc      []byte // JSON of Spec and Status
}

// Put creates or replaces a record. Record.Revision is what the writer read: 0 means "must not exist yet".
type Put struct{ Record Record }

// Delete removes a record at the revision the writer read.
type Delete struct {
	Key      Key
	Revision int64
}

// Tx is a set of changes that happen together or not at all.
type Tx struct {
	Puts    []Put
	Deletes []Delete
	Ledger  []LedgerEntry // appended; an entry whose ID exists already makes the Tx fail with AlreadyExists
}

// Sort is a field that a list can be ordered by. Ties are broken by name, so every order is total.
type Sort string

// The orders.
const (
	ByCreated  Sort = "created"
	ByModified Sort = "modified"
	ByName     Sort = "name"
	ByState    Sort = "state"
)

// Query selects records of one kind. Zero fields do not filter. Time bounds are exclusive, as AWS's are.
type Query struct {
	Kind                          Kind
	States                        []string
	NamePrefix, NameContains      string // NameContains ignores case, as AWS's does
	CreatedAfter, CreatedBefore   time.Time
	ModifiedAfter, ModifiedBefore time.Time
	Sort                          Sort // ByCreated when empty
	Descending                    bool
	Limit                         int    // at most this many; 0 = 1000
	Token                         string // Page.Next of the page before, with all other fields unchanged
}

// Page is one stretch of a list; Next is empty on the last.
type Page struct {
	Records []Record
	Next    string
}

// LedgerQuery selects ledger entries in the order in which they were appended. Zero fields do not filter.
type LedgerQuery struct {
	Resource    ARN
	From, Until time.Time // by At: From inclusive, Until exclusive
}

// Store keeps records and the ledger. Every method is safe for concurrent use.
//
// Errors are *Error: NotFound, Conflict (a revision was not the one expected, or a record to delete is gone),
// AlreadyExists (revision 0 on a name that exists), Invalid (a bad page token), Unavailable (disk full, database away:
// nothing was changed), Internal.
type Store interface {
	// Get reads one record; NotFound if there is none.
	Get(ctx context.Context, key Key) (Record, error)
	// List reads one page. A record that changes between pages may be seen twice or not at all; one that does not change
	// is seen exactly once.
	List(ctx context.Context, q Query) (Page, error)
	// Commit applies the Tx atomically and returns once it is on stable storage. After an error nothing was applied,
	// except that a cancelled ctx leaves it unknown: read to find out. The new revisions are those expected plus one.
	Commit(ctx context.Context, tx Tx) error
	// Ledger reads entries, all of them at once.
	Ledger(ctx context.Context, q LedgerQuery) ([]LedgerEntry, error)
	// Watch delivers the key of every record of the kind that changes after the call. It is lossy: keys that the reader
	// is too slow for are merged, never blocking a writer, so a reader must also resync. stop ends it and closes the channel.
	Watch(kind Kind) (changed <-chan Key, stop func())
	// Close releases the store; Commits in flight finish first.
	Close() error
}
