package server

import (
	"context"
	"os"

	"github.com/stint-ml/stint/control/async"
	"github.com/stint-ml/stint/control/notify"
	"github.com/stint-ml/stint/drivers/topics"
	"github.com/stint-ml/stint/platform"
)

// openAsync makes what works off the queues of asynchronous endpoints, and what tells of it.
func (s *Server) openAsync(context.Context) error {
	clock := platform.SystemClock{}
	dir := s.Home.Spool()
	if err := os.RemoveAll(dir); err != nil { // what a killed server may have left
		return platform.Errorf(platform.Unavailable, dir, "empty the folder: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return platform.Errorf(platform.Unavailable, dir, "make the folder: %w", err)
	}
	s.async = async.New(async.Config{
		Store: s.store, Invoker: s.router, Blobs: s.roles.of, Metrics: s.telemetry, Clock: clock, Site: s.Site, Dir: dir, Log: s.Log,
	})
	s.notify = notify.New(notify.Config{Store: s.store, Topics: topics.Open(s.Home.Topics()), Metrics: s.telemetry, Clock: clock, Log: s.Log})
	s.controllers = append(s.controllers, s.async, s.notify)
	return nil
}
