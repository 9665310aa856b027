package memory_test

import (
	"testing"

	"github.com/stint-ml/stint/drivers/store/memory"
	"github.com/stint-ml/stint/drivers/store/storetest"
	"github.com/stint-ml/stint/platform"
)

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) platform.Store { return memory.New() })
}
