package platform

import "testing"

func TestCapacityInWords(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]Capacity{
		"2 vCPUs and 8 GiB":              {MilliCPU: 2000, MemoryBytes: 8 << 30},
		"1 vCPU and 0.5 GiB":             {MilliCPU: 1000, MemoryBytes: 1 << 29},
		"8 vCPUs, 61 GiB and 1 GPU":      {MilliCPU: 8000, MemoryBytes: 61 << 30, GPUs: 1},
		"2.5 vCPUs, 23.5 GiB and 4 GPUs": {MilliCPU: 2500, MemoryBytes: 47 << 29, GPUs: 4},
	} {
		if got := c.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
