package catalog

import (
	"strings"
	"testing"

	"github.com/stint-ml/stint/platform"
)

func TestBuiltInListsAreWhole(t *testing.T) {
	t.Parallel()
	for partition, currency := range map[string]platform.Currency{"aws": "USD", "aws-cn": "CNY"} {
		c := BuiltIn(partition)
		if len(c) < 40 {
			t.Errorf("%s: %d types", partition, len(c))
		}
		for _, i := range c {
			if i.OnDemand.Nanos <= 0 || i.OnDemand.Currency != currency {
				t.Errorf("%s: %s costs %v", partition, i.Type, i.OnDemand)
			}
		}
	}
}

func TestSageMakerPriceWinsOverEC2(t *testing.T) {
	t.Parallel()
	c := BuiltIn("aws")
	m5, r5 := c["ml.m5.large"], c["ml.r5.large"]
	if m5.OnDemand.Nanos != 115_000_000 || m5.PriceIsEC2 {
		t.Errorf("ml.m5.large: %+v", m5)
	}
	if r5.OnDemand.Nanos != 126_000_000 || !r5.PriceIsEC2 {
		t.Errorf("ml.r5.large: %+v", r5)
	}
	if p3 := c["ml.p3.8xlarge"]; p3.Accelerators != 4 || p3.AcceleratorGiB != 16 || p3.VCPU != 32 || p3.MemoryGiB != 244 {
		t.Errorf("ml.p3.8xlarge: %+v", p3)
	}
}

func TestUserFileOverridesAndAdds(t *testing.T) {
	t.Parallel()
	own, err := Read(strings.NewReader(Header + "\n# our own box\nml.m5.large,2,8,,0,0,0.01,,EUR\nml.box,16,64,,0,0,,0.25,EUR\n"))
	if err != nil {
		t.Fatal(err)
	}
	c := Merge(BuiltIn("aws"), own)
	if got := c["ml.m5.large"].OnDemand; got != (platform.HourlyRate{Nanos: 10_000_000, Currency: "EUR"}) {
		t.Errorf("override: %v", got)
	}
	if c["ml.box"].VCPU != 16 || c["ml.m5.xlarge"].VCPU != 4 {
		t.Errorf("merge lost a line: %+v", c["ml.box"])
	}
}

func TestASpotPriceMayBeGiven(t *testing.T) {
	t.Parallel()
	c, err := Read(strings.NewReader(Header + "," + SpotColumn + "\nml.box,16,64,,0,0,,0.25,EUR,0.0625\nml.other,16,64,,0,0,,0.25,EUR,\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := c["ml.box"].Spot; got != (platform.HourlyRate{Nanos: 62_500_000, Currency: "EUR"}) {
		t.Errorf("spot price %v", got)
	}
	if got := c["ml.other"].Spot; got != (platform.HourlyRate{}) {
		t.Errorf("no spot price, yet %v", got)
	}
	for _, bad := range []string{"-1", "0", "cheap"} {
		_, err := Read(strings.NewReader(Header + "," + SpotColumn + "\nml.box,16,64,,0,0,,0.25,EUR," + bad + "\n"))
		if !platform.Is(err, platform.Invalid) || !strings.Contains(err.Error(), "line 2 (ml.box): spot_per_hour") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestBadLinesNameLineAndColumn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ line, want string }{
		{"m5.large,2,8,,0,0,1,,USD", "line 2 (m5.large): instance_type"},
		{"ml.x,0,8,,0,0,1,,USD", "vcpu \"0\""},
		{"ml.x,2,-1,,0,0,1,,USD", "memory_gib"},
		{"ml.x,2,8,,0,0,,,USD", "price \"\""},
		{"ml.x,2,8,,0,0,1,,", "price \"1\" \"\""},
		{"ml.x,2,8", "wrong number of fields"},
		{"serverless.more,,1,,,,0.1,,USD", "line 2 (serverless.more): instance_type"},
		{"serverless,,2,,,,0.1,,USD", "line 2 (serverless): is priced by the GiB"},
		{"serverless,2,1,,,,0.1,,USD", "line 2 (serverless): is priced by the GiB"},
		{"serverless.provisioned,,1,,,,,,USD", "line 2 (serverless.provisioned): price \"\""},
	} {
		_, err := Read(strings.NewReader(Header + "\n" + c.line + "\n"))
		if !platform.Is(err, platform.Invalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want …%s…", c.line, err, c.want)
		}
	}
	if _, err := Read(strings.NewReader("")); !platform.Is(err, platform.Invalid) {
		t.Errorf("empty file: %v", err)
	}
}

func TestServerlessInferenceHasItsPrice(t *testing.T) {
	t.Parallel()
	perHour := func(n platform.Nanos, c platform.Currency) platform.HourlyRate {
		return platform.HourlyRate{Nanos: n, Currency: c}
	}
	c := BuiltIn("aws")
	price, err := c.Serverless()
	if err != nil || price != (platform.ServerlessPrice{PerGBHour: perHour(72_000_000, "USD"), ProvisionedPerGBHour: perHour(18_000_000, "USD"), ProvisionedUsePerGBHour: perHour(41_400_000, "USD")}) {
		t.Fatalf("%+v, %v", price, err)
	}
	// The worked example of the pricing page: a million requests of 100 ms at 2 GB cost 4 USD, and with 14,400,000 s of provisioned concurrency 144 USD more.
	if got := price.PerGBHour.Times(100_000, 2); got.Nanos != 4*platform.NanosPerUnit {
		t.Errorf("on demand: %v", got)
	}
	if got := price.ProvisionedPerGBHour.Times(14_400_000, 2); got.Nanos != 144*platform.NanosPerUnit {
		t.Errorf("provisioned: %v", got)
	}
	if got := price.ProvisionedUsePerGBHour.Times(1_000_000, 2); got.Nanos != 23*platform.NanosPerUnit {
		t.Errorf("use of what is provisioned: %v", got)
	}
}

func TestAPriceOfServerlessInferenceMayBeGiven(t *testing.T) {
	t.Parallel()
	if _, err := BuiltIn("aws-cn").Serverless(); !platform.Is(err, platform.Invalid) || !strings.Contains(err.Error(), "add the lines serverless, ") {
		t.Errorf("where AWS does not offer it: %v", err)
	}
	one, err := Read(strings.NewReader(Header + "\nserverless,,1,,,,0.5,,CNY\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Merge(BuiltIn("aws"), one).Serverless(); !platform.Is(err, platform.Invalid) || !strings.Contains(err.Error(), "in CNY and in USD") {
		t.Errorf("two currencies: %v", err)
	}
	own, err := Read(strings.NewReader(Header + "," + SpotColumn + "\nserverless,,1,,,,0.5,,CNY,\nserverless.provisioned,,1,,,,0.1,,CNY,\nserverless.provisioned-use,,1,,,,0.3,,CNY,\n"))
	if err != nil {
		t.Fatal(err)
	}
	if price, err := Merge(BuiltIn("aws-cn"), own).Serverless(); err != nil || price.PerGBHour != (platform.HourlyRate{Nanos: 500_000_000, Currency: "CNY"}) {
		t.Errorf("one's own price: %+v, %v", price, err)
	}
}

func TestThePriceOfServerlessInferenceIsNoInstanceType(t *testing.T) {
	t.Parallel()
	c := BuiltIn("aws")
	if _, err := c.Lookup(platform.ServerlessUse); !platform.Is(err, platform.Invalid) {
		t.Errorf("it can be looked up: %v", err)
	}
	for _, name := range c.Types() {
		if !strings.HasPrefix(name, "ml.") {
			t.Errorf("%s is listed as an instance type", name)
		}
	}
}
