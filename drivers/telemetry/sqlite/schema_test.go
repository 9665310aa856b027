package sqlite

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stint-ml/stint/drivers"
	"github.com/stint-ml/stint/platform"
)

func TestPointsOfAnOlderVersionAreOneValueEach(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "telemetry.db")
	older := schema
	older.Steps = older.Steps[:1]
	db, err := drivers.OpenDatabase(t.Context(), path, older)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Write(t.Context(), func(tx *drivers.Tx) error {
		_, err := tx.Exec("INSERT INTO series VALUES(1, 'a', 'loss', '{}'); INSERT INTO points VALUES(1, 0, 0, -2, 'None'), (1, 0, 1, 5, 'None')")
		return err
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	now, err := Open(t.Context(), path, platform.SystemClock{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = now.Close() }()
	start := time.Unix(0, 0).UTC()
	got, err := now.Aggregate(t.Context(), platform.Series{Namespace: "a", Name: "loss"}, start, start.Add(time.Minute), time.Minute)
	if err != nil || len(got) != 1 || got[0] != (platform.Statistics{Start: start, Count: 2, Sum: 3, Minimum: -2, Maximum: 5, Unit: "None"}) {
		t.Errorf("%+v %v", got, err)
	}
}
