// Command stint is the whole of Stint in one binary: the server (up), the agent beside a job (agent), and the commands by
// which people use them. Flags, wiring and what people read live here; what a command knows of the API is in client, what the
// server is made of is in server. Nothing is decided here.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/stint-ml/stint/cmd/stint/client"
	"github.com/stint-ml/stint/cmd/stint/server"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/wire/sigv4"
)

// What the process ends with.
const (
	exitFailed      = 1   // a job or a call failed
	exitUsage       = 2   // the command line is wrong
	exitUnreachable = 3   // no server answers
	exitInterrupted = 130 // Ctrl-C
)

func main() {
	interrupts := make(chan os.Signal, 2)
	signal.Notify(interrupts, os.Interrupt, syscall.SIGTERM)
	a := &app{
		console: newConsole(os.Stdout, os.Stderr), interrupts: interrupts, now: time.Now, program: os.Args[0],
	}
	os.Exit(a.execute(context.Background(), os.Args[1:]))
}

// app is what all commands share.
type app struct {
	*console
	interrupts <-chan os.Signal
	now        func() time.Time
	program    string // as it was called, so that what we tell to type works

	homeFolder string // --home
	json       bool   // --json
}

// execute runs one command line and gives the exit code.
func (a *app) execute(ctx context.Context, args []string) int {
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetOut(a.out)
	root.SetErr(a.err)
	return a.report(root.ExecuteContext(ctx))
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "stint",
		Short: "SageMaker's API on your own machine, and what every second of it costs",
		Long: `Stint speaks the Amazon SageMaker, S3, STS, IAM and CloudWatch APIs and really does the work, on this machine.

  stint up                      start the server
  eval "$(stint env)"           point the SageMaker SDK, boto3 and the AWS CLI at it
  stint run train.py --data d   train without any SDK
  stint jobs                    see what became of it
  stint deploy model.tar.gz     serve a model
  stint cost NAME               and what it cost`,
		Args:          noArguments, // cobra's own word for an unknown command would not be a usage error
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.PersistentFlags().StringVar(&a.homeFolder, "home", "", "data folder (default $STINT_HOME, else /var/lib/stint for root, else ~/.local/share/stint)")
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print JSON, with AWS's field names")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usage("%v; see: %s --help", err, c.CommandPath()) })
	root.CompletionOptions.HiddenDefaultCmd = false
	root.AddGroup(&cobra.Group{ID: "server", Title: "Server:"}, &cobra.Group{ID: "jobs", Title: "Training jobs:"},
		&cobra.Group{ID: "endpoints", Title: "Endpoints:"})
	for _, c := range []*cobra.Command{a.upCommand(), a.envCommand(), a.runtimeCommand()} {
		c.GroupID = "server"
		root.AddCommand(c)
	}
	for _, c := range []*cobra.Command{
		a.runCommand(), a.jobsCommand(), a.describeCommand(), a.logsCommand(), a.stopCommand(), a.costCommand(), a.spotCommand(), a.deleteCommand(),
	} {
		c.GroupID = "jobs"
		root.AddCommand(c)
	}
	for _, c := range []*cobra.Command{a.deployCommand(), a.endpointsCommand(), a.endpointCommand(), a.invokeCommand()} {
		c.GroupID = "endpoints"
		root.AddCommand(c)
	}
	root.AddCommand(a.versionCommand(), a.agentCommand())
	return root
}

// home is the data folder that the flags and the environment name.
func (a *app) home() (server.Home, error) {
	if a.homeFolder == "" {
		return server.DefaultHome()
	}
	abs, err := filepath.Abs(a.homeFolder)
	return server.Home(abs), err
}

// connection is where the server of the data folder is, or was last.
func (a *app) connection() (server.Connection, platform.AccessKey, error) {
	home, err := a.home()
	if err != nil {
		return server.Connection{}, platform.AccessKey{}, err
	}
	connection, key, err := home.Connect()
	if errors.Is(err, os.ErrPermission) {
		err = fmt.Errorf("the data folder %s belongs to another user; run this as that user, or name your own with --home: %w", home, err)
	}
	if err != nil {
		return connection, key, &exitError{exitUnreachable, err}
	}
	return connection, key, nil
}

// connect gives a client of the data folder's server; whether it is up, the first call tells.
func (a *app) connect() (*client.Client, error) {
	connection, key, err := a.connection()
	if err != nil {
		return nil, err
	}
	return client.New(client.Config{
		Endpoint: connection.Endpoint, S3: connection.S3, Site: connection.Site,
		Credentials: sigv4.Credentials{AccessKeyID: key.ID, SecretAccessKey: key.Secret}, Now: a.now,
	}), nil
}

// stint is how to call a command again: the program as the user called it, with the data folder that was named.
func (a *app) stint(command string) string {
	words := a.program
	if !strings.Contains(words, "/") {
		words = "stint"
	}
	words += " " + command
	if a.homeFolder != "" {
		words += " --home " + quoteShell(a.homeFolder)
	}
	return words
}

// elsewhere is stint for another terminal, which does not have this one's environment.
func (a *app) elsewhere(command string, home server.Home) string {
	text := a.stint(command)
	if a.homeFolder == "" && os.Getenv("STINT_HOME") != "" {
		text += " --home " + quoteShell(string(home))
	}
	return text
}

// calling makes the RunE of a command that talks to the server; the first interrupt ends it.
func (a *app) calling(run func(ctx context.Context, c *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, args []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		ctx, stop := a.interruptible(command.Context())
		defer stop()
		return run(ctx, c, args)
	}
}

// errInterrupted is the cause of contexts that end by Ctrl-C.
var errInterrupted = errors.New("interrupted")

// interruptible gives a context that the first interrupt ends.
func (a *app) interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-a.interrupts:
			cancel(errInterrupted)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// exitError ends the process with a code of its own; a nil err was told already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usage is an error in the command line.
func usage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// reworded is an error in words of ours; the cause still gives its code.
type reworded struct {
	text  string
	cause error
}

func (e *reworded) Error() string { return e.text }
func (e *reworded) Unwrap() error { return e.cause }

// report tells an error in one line and gives the exit code.
func (a *app) report(err error) int {
	a.clearStatus()
	if err == nil {
		return 0
	}
	code, say := exitFailed, err
	var ours *exitError
	var away *client.UnreachableError
	var refused *client.APIError
	switch {
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case errors.As(err, &ours):
		code, say = ours.code, ours.err
	case errors.As(err, &away):
		code, say = exitUnreachable, fmt.Errorf("%w; start it with: %s", err, a.stint("up"))
	}
	if say == nil {
		return code
	}
	text := strings.TrimSpace(say.Error())
	if errors.As(err, &refused) && refused.Code != "" {
		text += " [" + refused.Code + "]"
	}
	a.note("%s %s", a.onErr.red("stint:"), text)
	return code
}

// The forms of positional arguments. Cobra's own do not make usage errors.

func noArguments(command *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if command.HasSubCommands() {
		message := fmt.Sprintf("there is no command %q", args[0])
		if near := command.SuggestionsFor(args[0]); len(near) > 0 {
			message += fmt.Sprintf("; did you mean %s?", strings.Join(near, " or "))
		} else {
			message += fmt.Sprintf("; see: %s --help", command.CommandPath())
		}
		return usage("%s", message)
	}
	return usage("%s takes no argument, so %q is too much; see: %s --help", command.Name(), args[0], command.CommandPath())
}

func oneArgument(what string) cobra.PositionalArgs {
	return func(command *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return usage("%s needs %s; see: %s --help", command.Name(), what, command.CommandPath())
		case len(args) > 1:
			return usage("%s takes one argument, so %q is too much; see: %s --help", command.Name(), args[1], command.CommandPath())
		}
		return nil
	}
}

func someArguments(what string) cobra.PositionalArgs {
	return func(command *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usage("%s needs %s; see: %s --help", command.Name(), what, command.CommandPath())
		}
		return nil
	}
}
