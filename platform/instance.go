package platform

import (
	"fmt"
	"sort"
	"strings"
)

// InstanceType is a machine type as SageMaker names it: ml.m5.large.
type InstanceType string

// Instance is one line of the catalogue: what a type has and what an hour of it costs.
type Instance struct {
	Type           InstanceType
	VCPU           int
	MemoryGiB      float64
	Accelerator    string // such as "V100"; empty for none
	Accelerators   int
	AcceleratorGiB float64 // of memory, each
	OnDemand       HourlyRate
	PriceIsEC2     bool       // no SageMaker list price is known; OnDemand is EC2's
	Spot           HourlyRate // zero: no spot price of its own is known
}

// Catalog is the instance types an installation knows, and the prices of serverless inference. It is data: decisions receive it.
type Catalog map[InstanceType]Instance

// Lookup finds a type; Invalid with the nearest names of its family when there is none.
func (c Catalog) Lookup(t InstanceType) (Instance, error) {
	if i, ok := c[t]; ok && t.machine() {
		return i, nil
	}
	family, _, _ := strings.Cut(strings.TrimPrefix(string(t), "ml."), ".")
	var near []string
	for k := range c {
		if strings.HasPrefix(string(k), "ml."+family+".") {
			near = append(near, string(k))
		}
	}
	if len(near) == 0 {
		return Instance{}, Errorf(Invalid, string(t), "instance type %s is not in the catalogue; add it to catalog.csv in the data folder with its vCPUs, memory and price", t)
	}
	sort.Strings(near)
	return Instance{}, Errorf(Invalid, string(t), "instance type %s is not in the catalogue; of its family there are %s", t, strings.Join(near, ", "))
}

// Types are the catalogue's instance types in the order of their names.
func (c Catalog) Types() []string {
	types := make([]string, 0, len(c))
	for t := range c {
		if t.machine() {
			types = append(types, string(t))
		}
	}
	sort.Strings(types)
	return types
}

// Capacity is an amount of machine.
type Capacity struct {
	MilliCPU    int64 // thousandths of a core
	MemoryBytes int64
	GPUs        int
}

// String says the amount to people: "2 vCPUs and 8 GiB".
func (c Capacity) String() string {
	vCPUs, memory := fmt.Sprintf("%g vCPU", float64(c.MilliCPU)/1000), fmt.Sprintf("%.4g GiB", float64(c.MemoryBytes)/(1<<30))
	if c.MilliCPU != 1000 {
		vCPUs += "s"
	}
	switch c.GPUs {
	case 0:
		return vCPUs + " and " + memory
	case 1:
		return vCPUs + ", " + memory + " and 1 GPU"
	default:
		return fmt.Sprintf("%s, %s and %d GPUs", vCPUs, memory, c.GPUs)
	}
}

// Fits reports whether need goes into c.
func (c Capacity) Fits(need Capacity) bool {
	return need.MilliCPU <= c.MilliCPU && need.MemoryBytes <= c.MemoryBytes && need.GPUs <= c.GPUs
}

// Plus gives both together.
func (c Capacity) Plus(o Capacity) Capacity {
	return Capacity{c.MilliCPU + o.MilliCPU, c.MemoryBytes + o.MemoryBytes, c.GPUs + o.GPUs}
}

// Minus gives what is left after taking away o; parts may become negative when a machine shrank.
func (c Capacity) Minus(o Capacity) Capacity {
	return Capacity{c.MilliCPU - o.MilliCPU, c.MemoryBytes - o.MemoryBytes, c.GPUs - o.GPUs}
}

// Clamp cuts c down to what limit has, so that a request larger than the machine still runs.
func (c Capacity) Clamp(limit Capacity) Capacity {
	return Capacity{min(c.MilliCPU, limit.MilliCPU), min(c.MemoryBytes, limit.MemoryBytes), min(c.GPUs, limit.GPUs)}
}

// Capacity is what one instance of this type asks of a machine.
func (i Instance) Capacity() Capacity {
	return Capacity{MilliCPU: int64(i.VCPU) * 1000, MemoryBytes: int64(i.MemoryGiB * (1 << 30)), GPUs: i.Accelerators}
}
