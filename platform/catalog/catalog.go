// Package catalog holds the built-in instance types: what each has and its public list price. It is data and a reader for
// it; no I/O. A user's own file has the same columns and wins line by line.
package catalog

import (
	_ "embed" // the price lists
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"strconv"
	"strings"

	"github.com/stint-ml/stint/platform"
)

// Public list prices: us-east-1 in USD (EC2 as of 2026-07-20, SageMaker where known), cn-north-1 in CNY (2024-11-06). Serverless
// inference: the per-second prices of a 2 GB endpoint in the worked examples of the SageMaker pricing page, which are 0.00004 USD on
// demand, 0.00001 to keep provisioned concurrency and 0.000023 to use it (as of 2026-08); AWS does not offer it in aws-cn.
var (
	//go:embed us-east-1.csv
	global string
	//go:embed cn-north-1.csv
	china string
)

// Header is the first line of a catalogue file. Memory is in GiB, accelerator memory is the sum over the accelerators,
// prices are per instance-hour; of the two prices the SageMaker one counts when both are there. A line of serverless inference
// (platform.ServerlessUse and its neighbours) has 1 GiB, nothing of the rest of a machine, and the price of that GiB for an hour.
const Header = "instance_type,vcpu,memory_gib,accelerator,accelerators,accelerator_memory_gib,sagemaker_per_hour,ec2_per_hour,currency"

// SpotColumn may follow at the end of the header: what an instance-hour costs on spot. Where it is empty, a discount applies.
const SpotColumn = "spot_per_hour"

// BuiltIn is the catalogue of a partition: aws or aws-cn.
func BuiltIn(partition string) platform.Catalog {
	source := global
	if partition == "aws-cn" {
		source = china
	}
	c, err := Read(strings.NewReader(source))
	if err != nil {
		panic("catalog: built-in list: " + err.Error()) // a test reads every built-in list
	}
	return c
}

// Read parses a catalogue file. Errors are Invalid and name the line and the column.
func Read(r io.Reader) (platform.Catalog, error) {
	in := csv.NewReader(r)
	in.Comment = '#'
	head, err := in.Read()
	if line := strings.TrimSuffix(strings.Join(head, ","), ","+SpotColumn); err != nil || line != Header {
		return nil, platform.Errorf(platform.Invalid, "", "a catalogue starts with the line %s, with or without a last column %s", Header, SpotColumn)
	}
	c := platform.Catalog{}
	for {
		fields, err := in.Read()
		if errors.Is(err, io.EOF) {
			return c, nil
		}
		if err != nil {
			return nil, platform.Errorf(platform.Invalid, "", "catalogue: %w", err)
		}
		line, _ := in.FieldPos(0)
		i, err := parse(fields)
		if err != nil {
			return nil, platform.Errorf(platform.Invalid, fields[0], "catalogue line %d (%s): %w", line, fields[0], err)
		}
		c[i.Type] = i
	}
}

// Merge lays over's lines over base's.
func Merge(base, over platform.Catalog) platform.Catalog {
	out := maps.Clone(base)
	maps.Copy(out, over)
	return out
}

func parse(f []string) (platform.Instance, error) {
	i := platform.Instance{Type: platform.InstanceType(f[0]), Accelerator: f[3]}
	switch i.Type {
	case platform.ServerlessUse, platform.ServerlessProvisioned, platform.ServerlessProvisionedUse:
		return parseServerless(f, i)
	}
	if !strings.HasPrefix(f[0], "ml.") {
		return i, fmt.Errorf("instance_type %q should start with %q", f[0], "ml.")
	}
	total := 0.0
	for _, c := range []struct {
		column string
		text   string
		least  float64
		into   any
	}{
		{"vcpu", f[1], 1, &i.VCPU}, {"memory_gib", f[2], 0.001, &i.MemoryGiB},
		{"accelerators", f[4], 0, &i.Accelerators}, {"accelerator_memory_gib", f[5], 0, &total},
	} {
		if err := number(c.text, c.least, c.into); err != nil {
			return i, fmt.Errorf("%s %q %w", c.column, c.text, err)
		}
	}
	if i.Accelerators > 0 {
		i.AcceleratorGiB = total / float64(i.Accelerators)
	}
	if err := parsePrice(f, &i); err != nil {
		return i, err
	}
	return i, parseSpot(f, &i)
}

// parseServerless reads a line that prices memory and is no machine.
func parseServerless(f []string, i platform.Instance) (platform.Instance, error) {
	if f[2] != "1" || f[1]+f[3]+f[4]+f[5] != "" {
		return i, errors.New("is priced by the GiB: memory_gib should be 1, vcpu and the accelerators empty")
	}
	if err := parsePrice(f, &i); err != nil {
		return i, err
	}
	i.MemoryGiB = 1
	if len(f) > 9 && f[9] != "" {
		return i, fmt.Errorf("has no spot price, yet %s is %q", SpotColumn, f[9])
	}
	return i, nil
}

// parsePrice reads the price on demand.
func parsePrice(f []string, i *platform.Instance) error {
	price := f[6]
	if price == "" {
		price, i.PriceIsEC2 = f[7], true
	}
	nanos, err := platform.ParseNanos(price)
	if err != nil || nanos < 0 || f[8] == "" {
		return fmt.Errorf("price %q %q is not an amount and a currency", price, f[8])
	}
	i.OnDemand = platform.HourlyRate{Nanos: nanos, Currency: platform.Currency(f[8])}
	return nil
}

// parseSpot reads the last column, where there is one and something in it.
func parseSpot(f []string, i *platform.Instance) error {
	if len(f) < 10 || f[9] == "" {
		return nil
	}
	nanos, err := platform.ParseNanos(f[9])
	if err != nil || nanos <= 0 {
		return fmt.Errorf("%s %q is not an amount above 0", SpotColumn, f[9])
	}
	i.Spot = platform.HourlyRate{Nanos: nanos, Currency: i.OnDemand.Currency}
	return nil
}

// number reads an *int or a *float64 that is finite and at least least.
func number(text string, least float64, into any) error {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !(v >= least) || math.IsInf(v, 0) {
		return fmt.Errorf("is not a number of at least %g", least)
	}
	switch p := into.(type) {
	case *int:
		if v != math.Trunc(v) {
			return errors.New("is not a whole number")
		}
		*p = int(v)
	case *float64:
		*p = v
	}
	return nil
}
