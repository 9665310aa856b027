package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/stint-ml/stint/cmd/stint/client"
)

// mostAsked bounds a request, as the runtime API does.
const mostAsked = 25 << 20

// contentTypes are what a file's name says of its content.
var contentTypes = map[string]string{
	".json": "application/json", ".jsonl": "application/jsonlines", ".csv": "text/csv", ".npy": "application/x-npy", ".npz": "application/x-npz",
	".txt": "text/plain", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png",
}

type invokeFlags struct {
	data                                string
	dataGiven                           bool
	contentType, accept, variant, model string
	async                               bool
}

func (a *app) invokeCommand() *cobra.Command {
	var f invokeFlags
	c := &cobra.Command{
		Use:   "invoke NAME [FILE]",
		Short: "Ask an endpoint, and print its answer",
		Long: `Ask an endpoint with the content of a file, with --data, or with what is piped in (FILE is - or missing), and print its answer as
it is. The content type follows from the file's name unless --content-type says it, and is JSON otherwise.

The exit code is 1 when the model answers with an error, which is told with its status and where its log is.`,
		Example: `  stint invoke digits --data '[[0, 1, 2]]'
  stint invoke digits rows.csv --accept application/json
  echo '[[0, 1, 2]]' | stint invoke digits | jq
  stint invoke digits-later --async rows.csv`,
		Args: func(command *cobra.Command, args []string) error {
			if len(args) > 2 {
				return usage("%s takes a name and a file, so %q is too much; see: %s --help", command.Name(), args[2], command.CommandPath())
			}
			return someArguments("the name of an endpoint")(command, args)
		},
		ValidArgsFunction: func(command *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveDefault // a file
			}
			return a.completeEndpoints(command, args, typed)
		},
		RunE: func(command *cobra.Command, args []string) error {
			f.dataGiven = command.Flags().Changed("data")
			return a.calling(func(ctx context.Context, c *client.Client, args []string) error {
				if f.async {
					return a.invokeLater(ctx, c, f, args, command.InOrStdin())
				}
				in, err := f.request(args, command.InOrStdin())
				if err != nil {
					return err
				}
				return a.invoke(ctx, c, in)
			})(command, args)
		},
	}
	flags := c.Flags()
	flags.StringVarP(&f.data, "data", "d", "", "`TEXT` to ask with, instead of a file")
	flags.StringVar(&f.contentType, "content-type", "", "`TYPE` of what is asked (default by the file's name, else application/json)")
	flags.StringVar(&f.accept, "accept", "", "`TYPE` of the answer that is wanted (default the model's own)")
	flags.BoolVar(&f.async, "async", false, "ask an asynchronous endpoint, and wait for its answer")
	flags.StringVar(&f.variant, "variant", "", "`NAME` of the variant to ask (default by weight)")
	flags.StringVar(&f.model, "model", "", "`NAME` of the model to ask, of an endpoint of many: its archive below their prefix")
	return c
}

// typeOf is the type of what is asked.
func (f invokeFlags) typeOf(file string) string {
	return cmp.Or(f.contentType, contentTypes[strings.ToLower(filepath.Ext(file))], "application/json")
}

// request reads what to ask.
func (f invokeFlags) request(args []string, stdin io.Reader) (client.Invocation, error) {
	file := "-"
	if len(args) == 2 {
		file = args[1]
	}
	in := client.Invocation{Endpoint: args[0], ContentType: f.typeOf(file), Accept: f.accept, Variant: f.variant, Model: f.model}
	switch {
	case f.dataGiven && len(args) == 2:
		return in, usage("--data and a file both say what to ask; choose one")
	case f.dataGiven:
		in.Body = []byte(f.data)
		return in, nil
	case file != "-":
		opened, err := os.Open(file)
		if err != nil {
			return in, usage("the file %s cannot be read: %v", file, err)
		}
		defer opened.Close()
		stdin = opened
	}
	body, err := io.ReadAll(io.LimitReader(stdin, mostAsked+1))
	switch {
	case err != nil:
		return in, fmt.Errorf("read what to ask: %w", err)
	case len(body) > mostAsked:
		return in, usage("what is asked is larger than %s, the most that an endpoint takes", bytesOf(mostAsked))
	}
	in.Body = body
	return in, nil
}

func (a *app) invoke(ctx context.Context, c *client.Client, in client.Invocation) error {
	answer, err := c.Invoke(ctx, in)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	return a.printAnswer(answer.Body, map[string]any{"ContentType": answer.ContentType, "InvokedProductionVariant": answer.Variant})
}

// printAnswer prints an answer as it is; for programs, as the Body of what else is said of it.
func (a *app) printAnswer(from io.Reader, said map[string]any) error {
	if !a.json {
		n, err := io.Copy(a.out, from)
		if err == nil && n > 0 && a.screen {
			a.print("")
		}
		return err
	}
	body, err := io.ReadAll(from)
	if err != nil {
		return err
	}
	said["Body"] = body
	switch {
	case json.Valid(body):
		said["Body"] = json.RawMessage(body)
	case utf8.Valid(body):
		said["Body"] = string(body)
	}
	return a.printJSON(said)
}
