package sqlite

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/stint-ml/stint/drivers"
	"github.com/stint-ml/stint/drivers/telemetry"
	"github.com/stint-ml/stint/platform"
)

// PutData is platform.Metrics'. Values that are not finite numbers are Invalid, as they are for CloudWatch.
func (t *Telemetry) PutData(ctx context.Context, producer string, seq int64, data []platform.Datum) error {
	if err := telemetry.CheckData(data); err != nil {
		return err
	}
	dimensions := make([]string, len(data))
	for i, d := range data {
		dimensions[i] = telemetry.DimensionText(d.Dimensions)
	}
	return t.db.Write(ctx, func(tx *drivers.Tx) error {
		if producer != "" {
			var last int64
			found, err := tx.QueryRow("SELECT seq FROM metric_producers WHERE name=?", []any{producer}, &last)
			if err != nil || found && seq <= last {
				return err
			}
			if _, err := tx.Exec("INSERT INTO metric_producers VALUES(?,?) ON CONFLICT DO UPDATE SET seq=excluded.seq", producer, seq); err != nil {
				return err
			}
		}
		for i, d := range data {
			if err := putDatum(tx, d, dimensions[i]); err != nil {
				return err
			}
		}
		return nil
	}, nil)
}

func putDatum(tx *drivers.Tx, d platform.Datum, dimensions string) error {
	const find = "SELECT id FROM series WHERE namespace=? AND name=? AND dimensions=?"
	args := []any{d.Namespace, d.Name, dimensions}
	var id int64
	found, err := tx.QueryRow(find, args, &id)
	if err == nil && !found {
		if _, err = tx.Exec("INSERT INTO series(namespace, name, dimensions) VALUES(?,?,?)", args...); err == nil {
			_, err = tx.QueryRow(find, args, &id)
		}
	}
	if err != nil {
		return err
	}
	at, s := d.At.UnixMilli(), d.Statistics()
	var low, high any
	if s.Count != 1 {
		low, high = s.Minimum, s.Maximum
	}
	_, err = tx.Exec("INSERT INTO points(series, at, n, value, unit, count, minimum, maximum)"+
		" VALUES(?1, ?2, IFNULL((SELECT max(n)+1 FROM points WHERE series=?1 AND at=?2), 0), ?3, ?4, ?5, ?6, ?7)", id, at, s.Sum, s.Unit, s.Count, low, high)
	return err
}

// Aggregate is platform.Metrics'. Start, end and period count in whole milliseconds. A period with data of several units
// has the first of them in the order of the alphabet.
func (t *Telemetry) Aggregate(ctx context.Context, s platform.Series, start, end time.Time, period time.Duration) ([]platform.Statistics, error) {
	if err := t.db.Usable(ctx); err != nil {
		return nil, err
	}
	width, err := telemetry.CheckPeriod(period)
	if err != nil {
		return nil, err
	}
	from := start.UnixMilli()
	var found []platform.Statistics
	err = t.db.QueryEach(ctx, "SELECT (at-?1)/?2 AS period, sum(count), sum(value), min(ifnull(minimum, value)), max(ifnull(maximum, value)), min(unit) FROM points"+
		" WHERE series=(SELECT id FROM series WHERE namespace=?3 AND name=?4 AND dimensions=?5) AND at>=?1 AND at<?6 GROUP BY period ORDER BY period",
		[]any{from, width, s.Namespace, s.Name, telemetry.DimensionText(s.Dimensions), end.UnixMilli()}, func(scan func(...any) error) error {
			var a platform.Statistics
			var n int64
			err := scan(&n, &a.Count, &a.Sum, &a.Minimum, &a.Maximum, &a.Unit)
			a.Start = telemetry.Time(from + n*width)
			found = append(found, a)
			return err
		})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Find is platform.Metrics'.
func (t *Telemetry) Find(ctx context.Context, search platform.Series) ([]platform.Series, error) {
	if err := t.db.Usable(ctx); err != nil {
		return nil, err
	}
	query, args := "SELECT namespace, name, dimensions FROM series WHERE true", []any(nil)
	if search.Namespace != "" {
		query, args = query+" AND namespace=?", append(args, search.Namespace)
	}
	if search.Name != "" {
		query, args = query+" AND name=?", append(args, search.Name)
	}
	var found []platform.Series
	err := t.db.QueryEach(ctx, query, args, func(scan func(...any) error) error {
		var s platform.Series
		var dimensions []byte
		if err := scan(&s.Namespace, &s.Name, &dimensions); err != nil {
			return err
		}
		if err := json.Unmarshal(dimensions, &s.Dimensions); err != nil {
			return err
		}
		if telemetry.InSearch(search, s) {
			found = append(found, s)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, telemetry.CompareSeries)
	return found, nil
}
