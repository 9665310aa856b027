package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/stint-ml/stint/drivers/store/sqlite"
	"github.com/stint-ml/stint/drivers/store/storetest"
	"github.com/stint-ml/stint/platform"
)

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.RunDurable(t, func(t *testing.T, dir string) platform.Store {
		s, err := sqlite.Open(t.Context(), filepath.Join(dir, "store.db"))
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
