package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/agent/link"
	"github.com/stint-ml/stint/cmd/stint/server"
	"github.com/stint-ml/stint/drivers/blobs/s3"
	"github.com/stint-ml/stint/drivers/runner/local"
	"github.com/stint-ml/stint/platform"
)

// agentCommand is what the local runner starts beside a job; people have no use for it.
func (a *app) agentCommand() *cobra.Command {
	var dir, home string
	c := &cobra.Command{
		Use:    "agent",
		Short:  "Do one job (started by the server)",
		Hidden: true,
		Args:   noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return runAgent(c.Context(), dir, server.Home(home))
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the agent's folder")
	c.Flags().StringVar(&home, "of", "", "the server's data folder")
	return c
}

func runAgent(ctx context.Context, dir string, home server.Home) error {
	// SIGTERM is caught before the server can know of this process.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	boot, err := local.Enter(dir)
	if errors.Is(err, local.ErrStarted) {
		return nil
	}
	if err != nil {
		return err
	}
	if boot.StopAsked {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		cancel()
	}
	config := agent.Config{
		Link: link.Dial(boot.Path(home.EndpointFile())), Blobs: blobs, Token: boot.Token,
		Dir: boot.Dir, Root: boot.Root, Outside: boot.Outside, Shim: home.TrainProgram(),
		Prepare: boot.Prepare, Notes: boot.Notes, Clock: platform.NewSteadyClock(),
		Memory: func() agent.Memory { return agent.Memory(boot.Memory()) },
		Log:    slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	if boot.UID >= 0 {
		config.User = &agent.User{UID: boot.UID, GID: boot.GID}
	}
	return agent.Run(ctx, config)
}

// blobs opens the object store with a job's credentials. The endpoint is the server's own, so it always is a URL.
func blobs(endpoint string, session platform.Session, region string) platform.Blobs {
	b, err := s3.New(s3.Config{Endpoint: endpoint, Region: region, Credentials: s3.Fixed(s3.Credentials{
		AccessKeyID: session.ID, SecretAccessKey: session.Secret, SessionToken: session.Token,
	})})
	if err != nil {
		panic("agent: the server gave an address that is none: " + err.Error())
	}
	return b
}
