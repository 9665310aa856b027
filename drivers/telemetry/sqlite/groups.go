package sqlite

import (
	"cmp"
	"context"
	"strings"

	"github.com/stint-ml/stint/drivers"
	"github.com/stint-ml/stint/drivers/telemetry"
	"github.com/stint-ml/stint/platform"
)

// querier is what the database and a transaction have in common.
type querier interface {
	QueryRow(query string, args []any, dest ...any) (found bool, err error)
}

func groupID(q querier, name string) (id int64, err error) {
	found, err := q.QueryRow("SELECT id FROM groups WHERE name=?", []any{name}, &id)
	if err == nil && !found {
		err = telemetry.NoGroup(name)
	}
	return id, err
}

func streamID(q querier, group, name string) (grp, id int64, err error) {
	if grp, err = groupID(q, group); err != nil {
		return 0, 0, err
	}
	found, err := q.QueryRow("SELECT id FROM streams WHERE grp=? AND name=?", []any{grp, name}, &id)
	if err == nil && !found {
		err = telemetry.NoStream(group, name)
	}
	return grp, id, err
}

func (t *Telemetry) addGroup(tx *drivers.Tx, name string) (id int64, err error) {
	r, err := tx.Exec("INSERT INTO groups(name, created) VALUES(?,?)", name, t.clock.Now().UnixMilli())
	if err != nil {
		return 0, err
	}
	return r.LastInsertId()
}

func (t *Telemetry) addStream(tx *drivers.Tx, grp int64, name string) (id int64, err error) {
	r, err := tx.Exec("INSERT INTO streams(grp, name, created) VALUES(?,?,?)", grp, name, t.clock.Now().UnixMilli())
	if err != nil {
		return 0, err
	}
	return r.LastInsertId()
}

// CreateGroup is platform.Logs'.
func (t *Telemetry) CreateGroup(ctx context.Context, name string) error {
	if err := telemetry.CheckNames(name); err != nil {
		return err
	}
	return t.db.Write(ctx, func(tx *drivers.Tx) error {
		if _, err := groupID(tx, name); !platform.Is(err, platform.NotFound) {
			return cmp.Or(err, telemetry.GroupExists(name))
		}
		_, err := t.addGroup(tx, name)
		return err
	}, nil)
}

// DeleteGroup is platform.Logs'. The group is gone at once; what it held is cleared away before it returns, or by the
// next Sweep.
func (t *Telemetry) DeleteGroup(ctx context.Context, name string) error {
	err := t.db.Write(ctx, func(tx *drivers.Tx) error {
		id, err := groupID(tx, name)
		if err != nil {
			return err
		}
		for _, statement := range []string{
			"INSERT INTO graves SELECT id FROM streams WHERE grp=?",
			"DELETE FROM streams WHERE grp=?",
			"DELETE FROM groups WHERE id=?",
		} {
			if _, err := tx.Exec(statement, id); err != nil {
				return err
			}
		}
		return nil
	}, nil)
	if err != nil {
		return err
	}
	return t.bury(ctx)
}

// Groups is platform.Logs'.
func (t *Telemetry) Groups(ctx context.Context, prefix, after string, limit int) (groups []platform.LogGroup, next string, err error) {
	if err := t.db.Usable(ctx); err != nil {
		return nil, "", err
	}
	last, err := telemetry.NameAfter(prefix, after)
	if err != nil {
		return nil, "", err
	}
	limit = telemetry.Limit(limit, telemetry.PageOfNames)
	query, args := withPrefix("SELECT name, created, retention, bytes FROM groups WHERE name>?", []any{last}, prefix)
	err = t.db.QueryEach(ctx, query+" ORDER BY name LIMIT ?", append(args, limit+1), func(scan func(...any) error) error {
		var g platform.LogGroup
		var created int64
		if err := scan(&g.Name, &created, &g.RetentionDays, &g.StoredBytes); err != nil {
			return err
		}
		if len(groups) == limit {
			next = telemetry.NameToken(prefix, groups[limit-1].Name)
			return drivers.ErrStop
		}
		g.Created = telemetry.Time(created)
		groups = append(groups, g)
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	return groups, next, nil
}

// SetRetention is platform.Logs'.
func (t *Telemetry) SetRetention(ctx context.Context, group string, days int) error {
	if err := telemetry.CheckRetention(days); err != nil {
		return err
	}
	return t.db.Write(ctx, func(tx *drivers.Tx) error {
		id, err := groupID(tx, group)
		if err != nil {
			return err
		}
		_, err = tx.Exec("UPDATE groups SET retention=? WHERE id=?", days, id)
		return err
	}, nil)
}

// CreateStream is platform.Logs'.
func (t *Telemetry) CreateStream(ctx context.Context, group, stream string) error {
	if err := telemetry.CheckNames(group, stream); err != nil {
		return err
	}
	return t.db.Write(ctx, func(tx *drivers.Tx) error {
		grp, err := groupID(tx, group)
		if err != nil {
			return err
		}
		if _, _, err := streamID(tx, group, stream); !platform.Is(err, platform.NotFound) {
			return cmp.Or(err, telemetry.StreamExists(group, stream))
		}
		_, err = t.addStream(tx, grp, stream)
		return err
	}, nil)
}

// DeleteStream is platform.Logs'. It clears away as DeleteGroup does.
func (t *Telemetry) DeleteStream(ctx context.Context, group, stream string) error {
	err := t.db.Write(ctx, func(tx *drivers.Tx) error {
		grp, id, err := streamID(tx, group, stream)
		if err != nil {
			return err
		}
		if _, err := tx.Exec("UPDATE groups SET bytes=bytes-(SELECT COALESCE(sum(bytes),0) FROM chunks WHERE stream=?) WHERE id=?", id, grp); err != nil {
			return err
		}
		if _, err := tx.Exec("INSERT INTO graves VALUES(?)", id); err != nil {
			return err
		}
		_, err = tx.Exec("DELETE FROM streams WHERE id=?", id)
		return err
	}, nil)
	if err != nil {
		return err
	}
	return t.bury(ctx)
}

// withPrefix narrows a query over column name to a prefix, by a range that an index finds.
func withPrefix(query string, args []any, prefix string) (string, []any) {
	if prefix == "" {
		return query, args
	}
	query, args = query+" AND name>=?", append(args, prefix)
	end := []byte(prefix) // the first string after all that begin so: the last byte that can be is one higher
	for len(end) > 0 && end[len(end)-1] == 0xff {
		end = end[:len(end)-1]
	}
	if len(end) > 0 {
		end[len(end)-1]++
		query, args = query+" AND name<?", append(args, string(end))
	}
	return query, args
}

func streamQuery(q platform.LogStreamQuery, grp int64) (query string, args []any, err error) {
	last, name, some, err := telemetry.StreamAfter(q)
	if err != nil {
		return "", nil, err
	}
	query, args = withPrefix("SELECT name, created, first, last, ingested, events FROM streams WHERE grp=?", []any{grp}, q.Prefix)
	beyond, order := ">", " ORDER BY name"
	if q.ByLastEvent {
		order = " ORDER BY last, name"
	}
	if q.Descending {
		beyond, order = "<", strings.ReplaceAll(order, ",", " DESC,")+" DESC"
	}
	switch {
	case some && q.ByLastEvent:
		query, args = query+" AND (last, name)"+beyond+"(?, ?)", append(args, last, name)
	case some:
		query, args = query+" AND name"+beyond+"?", append(args, name)
	}
	return query + order + " LIMIT ?", args, nil
}

// Streams is platform.Logs'.
func (t *Telemetry) Streams(ctx context.Context, q platform.LogStreamQuery) (streams []platform.LogStream, next string, err error) {
	if err := t.db.Usable(ctx); err != nil {
		return nil, "", err
	}
	grp, err := groupID(t.db, q.Group)
	if err != nil {
		return nil, "", err
	}
	query, args, err := streamQuery(q, grp)
	if err != nil {
		return nil, "", err
	}
	limit := telemetry.Limit(q.Limit, telemetry.PageOfNames)
	var lastOfPage int64
	err = t.db.QueryEach(ctx, query, append(args, limit+1), func(scan func(...any) error) error {
		var s platform.LogStream
		var created, first, last, ingested int64
		if err := scan(&s.Name, &created, &first, &last, &ingested, &s.Events); err != nil {
			return err
		}
		if len(streams) == limit {
			next = telemetry.StreamToken(q, lastOfPage, streams[limit-1].Name)
			return drivers.ErrStop
		}
		s.Created = telemetry.Time(created)
		if s.Events > 0 {
			s.First, s.Last, s.Ingested = telemetry.Time(first), telemetry.Time(last), telemetry.Time(ingested)
		}
		lastOfPage = last
		streams = append(streams, s)
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	return streams, next, nil
}
