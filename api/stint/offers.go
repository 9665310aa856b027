package stint

import (
	"context"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
)

// GetSpotOffersRequest names instance types; none means all that the server knows.
type GetSpotOffersRequest struct {
	InstanceTypes []string `json:"InstanceTypes,omitzero"`
}

// GetSpotOffersResponse has an offer for each type, in the order in which they were named, else by name.
type GetSpotOffersResponse struct {
	Offers []SpotOffer `json:"Offers"`
}

// SpotOffer is what is offered of one type now. Prices are of one instance for an hour.
type SpotOffer struct {
	InstanceType  string `json:"InstanceType"`
	Available     bool   `json:"Available"` // spot capacity is to be had
	SpotPrice     Amount `json:"SpotPrice"`
	OnDemandPrice Amount `json:"OnDemandPrice"`
}

func (s *service) offers(ctx context.Context, _ *api.Call, in *GetSpotOffersRequest) (*GetSpotOffersResponse, error) {
	asked := in.InstanceTypes
	if len(asked) == 0 {
		asked = s.Catalog.Types()
	}
	out := &GetSpotOffersResponse{Offers: []SpotOffer{}}
	for _, name := range asked {
		instance, err := s.Catalog.Lookup(platform.InstanceType(name))
		if err != nil {
			return nil, err
		}
		offer, err := s.Market.Offer(ctx, instance.Type, instance.OnDemand)
		if platform.Is(err, platform.Invalid) && len(in.InstanceTypes) == 0 {
			continue // the market trades in fewer types than the catalogue has
		}
		if err != nil {
			return nil, err
		}
		out.Offers = append(out.Offers, SpotOffer{
			InstanceType: name, Available: offer.Available,
			SpotPrice: amount(platform.Money(offer.Rate)), OnDemandPrice: amount(platform.Money(instance.OnDemand)),
		})
	}
	return out, nil
}
