package main

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"github.com/spf13/cobra"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/cmd/stint/client"
	"github.com/stint-ml/stint/cmd/stint/server"
	"github.com/stint-ml/stint/platform"
)

// variable is one line of the environment; an empty value unsets it.
type variable struct{ name, value string }

func (a *app) envCommand() *cobra.Command {
	shell := ""
	c := &cobra.Command{
		Use:   "env",
		Short: "Print the environment that points SageMaker code at this server",
		Long: `Print the environment that points the SageMaker Python SDK, boto3, the AWS CLI and every AWS SDK at this server, and write
the SageMaker configuration file that it names. The output holds the secret access key.

The SageMaker SDK calls STS at a fixed address of AWS, whatever the environment says, to find the account of its default
bucket and the role that it runs as. The configuration file answers both questions, so that no such call is made: role= may
be left out, and $SAGEMAKER_ROLE holds it for code that wants it.

Code that calls get_execution_role() asks STS all the same, unless it finds what a notebook of SageMaker has. On a machine
of your own, give it that:

  sudo mkdir -p /opt/ml/metadata
  echo "{\"ExecutionRoleArn\": \"$SAGEMAKER_ROLE\"}" | sudo tee /opt/ml/metadata/resource-metadata.json`,
		Example: `  eval "$(stint env)"
  stint env --shell fish | source
  stint env --json`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return a.env(c, shell) },
	}
	c.Flags().StringVar(&shell, "shell", "", "sh or fish (default what $SHELL is)")
	_ = c.RegisterFlagCompletionFunc("shell", cobra.FixedCompletions([]string{"sh", "fish"}, cobra.ShellCompDirectiveNoFileComp)) // fails only for a flag that is not there
	return c
}

func (a *app) env(c *cobra.Command, shell string) error {
	if shell == "" {
		shell = filepath.Base(os.Getenv("SHELL"))
	} else if shell != "sh" && shell != "fish" {
		return usage("--shell %q is not known; there are sh (also for bash and zsh) and fish", shell)
	}
	connection, key, err := a.connection()
	if err != nil {
		return err
	}
	home, err := a.home()
	if err != nil {
		return err
	}
	config, err := writeSageMakerConfig(home, connection.Site)
	if err != nil {
		return err
	}
	variables := environment(connection, key, config)
	variables = append(variables, noProxy(connection.Endpoint, os.Getenv)...)
	if err := client.New(client.Config{Endpoint: connection.Endpoint}).Healthy(c.Context()); err != nil {
		a.note("%s %v; start it with: %s", a.onErr.yellow("stint:"), err, a.stint("up"))
	}
	if a.json {
		return a.printJSON(object(variables))
	}
	for _, v := range variables {
		a.print("%s", v.line(shell))
	}
	return nil
}

// object is the environment for programs; null unsets.
func object(variables []variable) map[string]*string {
	o := map[string]*string{}
	for _, v := range variables {
		o[v.name] = nil
		if v.value != "" {
			o[v.name] = &v.value
		}
	}
	return o
}

// environment is what clients need.
func environment(c server.Connection, key platform.AccessKey, config string) []variable {
	return []variable{
		{"AWS_ENDPOINT_URL", c.Endpoint},
		{"AWS_ENDPOINT_URL_S3", c.S3},
		{"S3_ENDPOINT_URL", c.S3}, // read by the SageMaker training toolkit and older tools
		{"AWS_ACCESS_KEY_ID", key.ID},
		{"AWS_SECRET_ACCESS_KEY", key.Secret},
		{"AWS_SESSION_TOKEN", ""},
		{"AWS_PROFILE", ""},
		{"AWS_REGION", c.Site.Region},
		{"AWS_DEFAULT_REGION", c.Site.Region},
		{"AWS_EC2_METADATA_DISABLED", "true"},
		{"SAGEMAKER_USER_CONFIG_OVERRIDE", config},
		{"SAGEMAKER_ROLE", string(executionRole(c.Site))},
	}
}

// noProxy keeps calls to the server from going through a proxy for the outside world: not every client leaves 127.0.0.1 out
// by itself.
func noProxy(endpoint string, getenv func(string) string) []variable {
	u, err := url.Parse(endpoint)
	if err != nil || !slices.ContainsFunc([]string{"HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"}, func(name string) bool { return getenv(name) != "" }) {
		return nil
	}
	var out []variable
	for _, name := range []string{"NO_PROXY", "no_proxy"} {
		hosts := strings.FieldsFunc(getenv(name), func(r rune) bool { return r == ',' || r == ' ' })
		if !slices.Contains(hosts, u.Hostname()) && !slices.Contains(hosts, "*") {
			out = append(out, variable{name, strings.Join(append(hosts, u.Hostname()), ",")})
		}
	}
	return out
}

// line sets a variable in the words of a shell.
func (v variable) line(shell string) string {
	switch {
	case shell == "fish" && v.value == "":
		return "set -e " + v.name + ";"
	case shell == "fish":
		return "set -gx " + v.name + " '" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(v.value) + "';"
	case v.value == "":
		return "unset " + v.name
	default:
		return "export " + v.name + "=" + quoteShell(v.value)
	}
}

// executionRole is what jobs run as unless they name another role.
func executionRole(site platform.Site) platform.ARN {
	return site.GlobalARN("iam", "role/"+api.DefaultRole)
}

// defaultBucket is the bucket that the SageMaker SDK would choose.
func defaultBucket(site platform.Site) string {
	return "sagemaker-" + site.Region + "-" + site.Account
}

// sagemakerConfig is the SageMaker SDK's own configuration file; SDK 2.x and 3.x check it against the same schema
// (sagemaker.config.config_schema). The SDK makes the bucket when it is missing.
var sagemakerConfig = template.Must(template.New("").Parse(`# Written by "stint env": what the SageMaker Python SDK would ask STS for, at an address that is always AWS's.
SchemaVersion: '1.0'
SageMaker:
  PythonSDK:
    Modules:
      TelemetryOptOut: true
      Session:
        DefaultS3Bucket: {{.Bucket}}
  TrainingJob:
    RoleArn: {{.Role}}
  ProcessingJob:
    RoleArn: {{.Role}}
  Model:
    ExecutionRoleArn: {{.Role}}
  Pipeline:
    RoleArn: {{.Role}}
`))

func writeSageMakerConfig(home server.Home, site platform.Site) (string, error) {
	var doc bytes.Buffer
	err := sagemakerConfig.Execute(&doc, struct {
		Bucket string
		Role   platform.ARN
	}{defaultBucket(site), executionRole(site)})
	if err != nil {
		return "", err
	}
	name := filepath.Join(string(home), "sagemaker-config.yaml")
	if have, err := os.ReadFile(name); err == nil && bytes.Equal(have, doc.Bytes()) {
		return name, nil
	}
	// Whole or not at all: an SDK may read it just now. Under a name of its own: another `stint env` may write it just now, too.
	draft := fmt.Sprintf("%s.%d.new", name, os.Getpid())
	if err := os.WriteFile(draft, doc.Bytes(), 0o644); err != nil { //nolint:gosec // it holds no secret
		return "", fmt.Errorf("write the SageMaker configuration: %w", err)
	}
	return name, os.Rename(draft, name)
}
