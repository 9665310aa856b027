package stint

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/decide/price"
	"github.com/stint-ml/stint/platform"
)

// Commands can be pasted into a shell, and asynchronous inference, which no update leads to or from, gets an endpoint of its own.
func TestTheCommandsOfAChange(t *testing.T) {
	t.Parallel()
	bare := regexp.MustCompile(`'[^']*'`)
	for _, c := range []struct {
		from, to price.Mode
		want     []string
		no       string
	}{
		{price.RealTime, price.Serverless, []string{"update-endpoint --endpoint-name e --endpoint-config-name e-serverless"}, "create-endpoint --"},
		{price.RealTime, price.Async, []string{"create-endpoint --endpoint-name e-async", "--resource-id endpoint/e-async/variant/v", "delete-endpoint --endpoint-name e "}, "update-endpoint"},
		{price.Async, price.Serverless, []string{"create-endpoint --endpoint-name e-serverless", "delete-endpoint --endpoint-name e "}, "update-endpoint"},
		{price.Async, price.Async, []string{"--resource-id endpoint/e/variant/v"}, "create-endpoint"},
		{price.RealTime, price.Batch, []string{"create-transform-job", "delete-endpoint --endpoint-name e"}, "update-endpoint"},
	} {
		how := changes{endpoint: "e", variant: "v", model: "m", arn: "a", instance: platform.InstanceType("ml.m5.large"), sleep: time.Minute, from: c.from, have: 1}
		steps := strings.Join(how.to(&price.Cost{Mode: c.to, Units: 1, Memory: 2}), "\n")
		for _, want := range c.want {
			if !strings.Contains(steps, want) {
				t.Errorf("from %s to %s %q is missing in\n%s", c.from, c.to, want, steps)
			}
		}
		if strings.Contains(steps, c.no) || strings.Contains(bare.ReplaceAllString(steps, ""), "{") {
			t.Errorf("from %s to %s\n%s", c.from, c.to, steps)
		}
	}
}
