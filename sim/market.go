package sim

import (
	"context"
	"sync"

	"github.com/stint-ml/stint/platform"
)

// Market is a spot market that offers what it is told to, the same of every instance type.
type Market struct {
	mu      sync.Mutex
	offer   platform.Offer
	changed chan struct{}
}

// NewMarket makes a market with its first offer.
func NewMarket(offer platform.Offer) *Market {
	return &Market{offer: offer, changed: make(chan struct{}, 1)}
}

// Set changes what is offered.
func (m *Market) Set(offer platform.Offer) {
	m.mu.Lock()
	m.offer = offer
	m.mu.Unlock()
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// Withdraw takes the capacity away and leaves the price; Restore brings it back.
func (m *Market) Withdraw() { m.available(false) }

// Restore offers capacity again.
func (m *Market) Restore() { m.available(true) }

func (m *Market) available(yes bool) {
	o, _ := m.Offer(context.Background(), "", platform.HourlyRate{})
	o.Available = yes
	m.Set(o)
}

// Offer implements platform.Market.
func (m *Market) Offer(context.Context, platform.InstanceType, platform.HourlyRate) (platform.Offer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.offer, nil
}

// Changed implements platform.Market.
func (m *Market) Changed() <-chan struct{} { return m.changed }

// Close implements platform.Market.
func (m *Market) Close() error { return nil }
