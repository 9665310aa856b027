package stint

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/decide/bill"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
)

// GetCostRequest names the resource.
type GetCostRequest struct {
	ResourceArn *string `json:"ResourceArn,omitzero"`
}

// GetCostResponse is the resource's statement. Amounts are decimal strings of the currency's unit, exact to nine decimals.
type GetCostResponse struct {
	ResourceArn     string     `json:"ResourceArn"`
	Lines           []CostLine `json:"Lines"`
	Seconds         int64      `json:"Seconds"`         // Σ of the lines' seconds
	BillableSeconds int64      `json:"BillableSeconds"` // each line's seconds × price paid ÷ on-demand price
	Total           Amount     `json:"Total"`
	OnDemandTotal   Amount     `json:"OnDemandTotal"` // the same seconds at list price
	Running         bool       `json:"Running"`       // a line is open: the figures are as of now
}

// CostLine is a stretch of an attempt at one price: an attempt on spot has another line with each change of the price.
type CostLine struct {
	Attempt      int               `json:"Attempt"`
	InstanceType string            `json:"InstanceType"`
	Count        int64             `json:"Count"`
	Purchase     string            `json:"Purchase"`
	HourlyRate   Amount            `json:"HourlyRate"`
	Start        *shapes.Timestamp `json:"Start"`
	End          *shapes.Timestamp `json:"End,omitzero"`
	Seconds      int64             `json:"Seconds"`
	Milliseconds int64             `json:"Milliseconds,omitzero"` // of what is paid for by its use
	Invocations  int64             `json:"Invocations,omitzero"`  // likewise
	Cost         Amount            `json:"Cost"`
}

// Amount is money on the wire.
type Amount struct {
	Amount   string `json:"Amount"`
	Currency string `json:"Currency"`
}

func statement(ctx context.Context, store platform.Store, call *api.Call, arn platform.ARN) (*GetCostResponse, error) {
	entries, err := store.Ledger(ctx, platform.LedgerQuery{Resource: arn})
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		if err := exists(ctx, store, arn); err != nil {
			return nil, err
		}
	}
	open, err := usage(ctx, store, arn, call.Now)
	if err != nil {
		return nil, err
	}
	s, err := bill.State(append(entries, open...), call.Now)
	if err != nil {
		return nil, err
	}
	s.Open = s.Open || len(open) > 0
	out := &GetCostResponse{
		ResourceArn: string(arn), Lines: []CostLine{}, Seconds: int64(s.Seconds), BillableSeconds: int64(s.Billable),
		Total: amount(s.Total), OnDemandTotal: amount(s.OnDemand), Running: s.Open,
	}
	for _, l := range s.Lines {
		line := CostLine{
			Attempt: l.Attempt, InstanceType: string(l.InstanceType), Count: l.Count, Purchase: string(l.Purchase),
			HourlyRate: amount(platform.Money(l.Rate)), Start: shapes.NewTimestamp(l.Start), Seconds: l.Seconds, Cost: amount(l.Amount),
			Milliseconds: l.Work.Milliseconds, Invocations: l.Work.Invocations,
		}
		if !l.Open {
			line.End = shapes.NewTimestamp(l.At)
		}
		out.Lines = append(out.Lines, line)
	}
	return out, nil
}

// usage is what an endpoint has used that the ledger does not tell yet, as the entries that it would be now.
func usage(ctx context.Context, store platform.Store, arn platform.ARN, now time.Time) ([]platform.LedgerEntry, error) {
	if !strings.Contains(string(arn), ":endpoint/") {
		return nil, nil
	}
	page, err := store.List(ctx, platform.Query{Kind: platform.KindUsage, NamePrefix: arn.ResourceName() + "/"})
	if err != nil {
		return nil, err
	}
	var out []platform.LedgerEntry
	for _, rec := range page.Records {
		var u platform.Usage
		if err := json.Unmarshal(rec.Doc, &u); err != nil {
			return nil, platform.Errorf(platform.Internal, rec.Name, "usage record: %w", err)
		}
		out = append(out, bill.Use(u, now))
	}
	return out, nil
}

// exists tells a resource that has cost nothing yet from one that is not there.
func exists(ctx context.Context, store platform.Store, arn platform.ARN) error {
	_, _, _, _, resource, _ := arn.Split()
	kind, _, _ := strings.Cut(resource, "/") // an ARN names its resource's type by the word of its records
	_, err := store.Get(ctx, platform.Key{Kind: platform.Kind(kind), Name: arn.ResourceName()})
	if platform.Is(err, platform.NotFound) {
		return platform.Errorf(platform.NotFound, string(arn), "nothing named %s has ever cost anything", arn)
	}
	return err
}

func amount(m platform.Money) Amount {
	return Amount{Amount: platform.Money{Nanos: m.Nanos}.String(), Currency: string(m.Currency)}
}
