package control

import (
	"context"
	"sync"

	"github.com/stint-ml/stint/platform"
)

// Shared lets controllers of several kinds of resources use one runner, each as if it had it alone: Of gives a runner that
// lists the agents of one kind of owner and tells of their ends only.
type Shared struct {
	runner platform.Runner
	mu     sync.Mutex
	kinds  map[platform.Kind]*part
	done   chan struct{}
}

// Share begins to tell the ends of a runner's agents apart, until the runner is closed.
func Share(runner platform.Runner) *Shared {
	s := &Shared{runner: runner, kinds: map[platform.Kind]*part{}, done: make(chan struct{})}
	go s.tell()
	return s
}

// Of gives the runner of one kind's controller. Closing it closes nothing.
func (s *Shared) Of(kind platform.Kind) platform.Runner {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.kinds[kind]
	if p == nil {
		p = &part{Runner: s.runner, kind: kind, ended: make(chan platform.AgentID, 1024)}
		s.kinds[kind] = p
	}
	return p
}

// tell passes the ends on. A controller that does not keep up finds them by List, as after a restart.
func (s *Shared) tell() {
	defer close(s.done)
	for id := range s.runner.Ended() {
		kind, known := s.kindOf(id)
		s.mu.Lock()
		for k, p := range s.kinds {
			if known && k != kind {
				continue
			}
			select {
			case p.ended <- id:
			default:
			}
		}
		s.mu.Unlock()
	}
}

func (s *Shared) kindOf(id platform.AgentID) (platform.Kind, bool) {
	agents, err := s.runner.List(context.Background())
	if err != nil {
		return "", false
	}
	for _, a := range agents {
		if a.ID == id {
			return a.Owner.Kind, true
		}
	}
	return "", false
}

// part is the runner as the controller of one kind sees it.
type part struct {
	platform.Runner
	kind  platform.Kind
	ended chan platform.AgentID
}

// List gives the agents of this kind.
func (p *part) List(ctx context.Context) ([]platform.AgentStatus, error) {
	all, err := p.Runner.List(ctx)
	if err != nil {
		return nil, err
	}
	var mine []platform.AgentStatus
	for _, a := range all {
		if a.Owner.Kind == p.kind {
			mine = append(mine, a)
		}
	}
	return mine, nil
}

// Ended tells of the ends of this kind's agents.
func (p *part) Ended() <-chan platform.AgentID { return p.ended }

// Close does nothing: the runner is everybody's.
func (p *part) Close() error { return nil }

// Reports implements platform.Undelivered for runners that can.
func (p *part) Reports(ctx context.Context, id platform.AgentID, after int64) ([]platform.Report, error) {
	if box, ok := p.Runner.(platform.Undelivered); ok {
		return box.Reports(ctx, id, after)
	}
	return nil, nil
}

// Links is the control plane as agents of several kinds see it: each token says which kind its bearer works for.
type Links map[platform.Kind]platform.AgentLink

// Assignment implements platform.AgentLink.
func (l Links) Assignment(ctx context.Context, token string) (platform.Assignment, error) {
	link, err := l.of(token)
	if err != nil {
		return platform.Assignment{}, err
	}
	return link.Assignment(ctx, token)
}

// Deliver implements platform.AgentLink.
func (l Links) Deliver(ctx context.Context, token string, reports []platform.Report) (platform.Ack, error) {
	link, err := l.of(token)
	if err != nil {
		return platform.Ack{}, err
	}
	return link.Deliver(ctx, token, reports)
}

func (l Links) of(token string) (platform.AgentLink, error) {
	claim, err := ReadToken(token)
	if err != nil {
		return nil, err
	}
	link, ok := l[claim.Owner.Kind]
	if !ok {
		return nil, platform.Errorf(platform.Denied, "", "this token is of no kind of work that this server knows")
	}
	return link, nil
}
