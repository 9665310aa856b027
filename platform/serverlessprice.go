package platform

import "strings"

// The lines of a catalogue that price serverless inference: no instance types, but what a GB of configured memory costs for
// an hour. ServerlessUse is charged while a request is answered. With provisioned concurrency, ServerlessProvisioned is
// charged as long as it is kept, and ServerlessProvisionedUse in place of ServerlessUse while it answers a request.
const (
	ServerlessUse            InstanceType = "serverless"
	ServerlessProvisioned    InstanceType = "serverless.provisioned"
	ServerlessProvisionedUse InstanceType = "serverless.provisioned-use"
)

// machine tells an instance type from the lines that only price something.
func (t InstanceType) machine() bool { return strings.HasPrefix(string(t), "ml.") }

// ServerlessPrice is what serverless inference costs by the GB of configured memory and the hour, all in one currency.
type ServerlessPrice struct {
	PerGBHour               HourlyRate // while a request is answered
	ProvisionedPerGBHour    HourlyRate // while a unit of concurrency is kept provisioned
	ProvisionedUsePerGBHour HourlyRate // while a provisioned unit answers a request
}

// Serverless is the catalogue's price of serverless inference; Invalid where it has none, as in partition aws-cn, where AWS
// does not offer it, and where its lines are of several currencies.
func (c Catalog) Serverless() (ServerlessPrice, error) {
	use, kept, keptUse := c[ServerlessUse], c[ServerlessProvisioned], c[ServerlessProvisionedUse]
	for _, line := range []Instance{use, kept, keptUse} {
		if line.OnDemand.Currency == "" {
			return ServerlessPrice{}, Errorf(Invalid, "", "the catalogue has no price for serverless inference; add the lines %s, %s and %s to catalog.csv in the data folder, each with the price of 1 GiB for an hour",
				ServerlessUse, ServerlessProvisioned, ServerlessProvisionedUse)
		}
		if line.OnDemand.Currency != use.OnDemand.Currency {
			return ServerlessPrice{}, Errorf(Invalid, "", "the catalogue prices serverless inference in %s and in %s; in catalog.csv its three lines must be of one currency",
				use.OnDemand.Currency, line.OnDemand.Currency)
		}
	}
	return ServerlessPrice{PerGBHour: use.OnDemand, ProvisionedPerGBHour: kept.OnDemand, ProvisionedUsePerGBHour: keptUse.OnDemand}, nil
}
