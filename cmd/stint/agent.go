package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/agent/batch"
	"github.com/stint-ml/stint/agent/link"
	"github.com/stint-ml/stint/agent/models"
	"github.com/stint-ml/stint/agent/pipeline"
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
		Link: link.Dial(boot.Path(home.EndpointFile())), Blobs: objectStore(boot.Path(home.EndpointFile())), Token: boot.Token,
		Dir: boot.Dir, Root: boot.Root, Outside: boot.Outside, Shim: home.TrainProgram(), ServeProgram: home.ServeProgram(),
		NewSender:   func(ctx context.Context, b agent.Batches) agent.Sender { return batch.NewSender(ctx, b) },
		Checkpoints: keepCheckpoints, Front: models.New, Pipeline: pipeline.New, Part: boot.Part, Prepare: boot.Prepare, Notes: boot.Notes, Clock: platform.NewSteadyClock(),
		Memory: func() agent.Memory { return agent.Memory(boot.Memory()) },
		Log:    slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	for _, r := range boot.Previous {
		config.Previous = append(config.Previous, agent.Remains(r))
	}
	if boot.UID >= 0 {
		config.User = &agent.User{UID: boot.UID, GID: boot.GID}
	}
	return agent.Run(ctx, config)
}

// objectStore opens the object store with a job's credentials. The endpoint is the server's own, so it always is a URL.
func objectStore(serverFile string) func(endpoint string, session platform.Session, region string) platform.Blobs {
	return func(endpoint string, session platform.Session, region string) platform.Blobs {
		b, err := s3.New(s3.Config{Endpoint: endpoint, Region: region, Dial: follow(serverFile, endpoint), Credentials: s3.Fixed(s3.Credentials{
			AccessKeyID: session.ID, SecretAccessKey: session.Secret, SessionToken: session.Token,
		})})
		if err != nil {
			panic("agent: the server gave an address that is none: " + err.Error())
		}
		return b
	}
}

// follow connects to the store of a server that may come back on another port, as its file says: an upload that was under
// way when the server was killed goes on without having to begin anew. A store that is not the server's has one place.
func follow(serverFile, endpoint string) func(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	if announced(serverFile) != endpoint {
		return dialer.DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if now, err := url.Parse(announced(serverFile)); err == nil && now.Host != "" {
			address = now.Host
		}
		return dialer.DialContext(ctx, network, address)
	}
}

// announced is where the server says its store is, empty when it does not say.
func announced(serverFile string) string {
	var c server.Connection
	doc, err := os.ReadFile(serverFile)
	if err != nil || json.Unmarshal(doc, &c) != nil {
		return ""
	}
	return c.S3
}
