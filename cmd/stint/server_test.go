package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/cmd/stint/server"
	"github.com/stint-ml/stint/platform"
)

func TestEnv(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	played := ""
	for _, shell := range []string{"sh", "fish"} {
		code, out, stderr := b.run("env", "--shell", shell)
		if code != 0 || stderr != "" {
			t.Errorf("%s: exit %d, err %q", shell, code, stderr)
		}
		played += fmt.Sprintf("# %s\n%s\n", shell, out)
	}
	config, err := os.ReadFile(filepath.Join(string(b.home), "sagemaker-config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	played = strings.NewReplacer(b.door.Root.ID, "KEY", b.door.Root.Secret, "SECRET").Replace(played)
	golden(t, "env.txt", played+"# sagemaker-config.yaml\n"+string(config))

	_, out, _ := b.run("env", "--json")
	var object map[string]*string
	if err := json.Unmarshal([]byte(out), &object); err != nil {
		t.Fatal(err)
	}
	if token, there := object["AWS_SESSION_TOKEN"]; !there || token != nil || *object["AWS_ACCESS_KEY_ID"] != b.door.Root.ID {
		t.Errorf("%s", out)
	}
	if code, _, stderr := b.run("env", "--shell", "cmd"); code != 2 || !strings.Contains(stderr, `"cmd" is not known`) {
		t.Errorf("exit %d, err %q", code, stderr)
	}
}

func TestNoProxy(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		environment map[string]string
		want        string
	}{
		"no proxy":        {nil, "[]"},
		"a proxy":         {map[string]string{"http_proxy": "http://p"}, "[{NO_PROXY 127.0.0.1} {no_proxy 127.0.0.1}]"},
		"some exceptions": {map[string]string{"HTTP_PROXY": "http://p", "NO_PROXY": "a, b"}, "[{NO_PROXY a,b,127.0.0.1} {no_proxy 127.0.0.1}]"},
		"excepted":        {map[string]string{"ALL_PROXY": "http://p", "NO_PROXY": "127.0.0.1", "no_proxy": "*"}, "[]"},
	} {
		got := fmt.Sprint(noProxy("http://127.0.0.1:9400", func(name string) string { return tt.environment[name] }))
		if got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

func TestUpRefusals(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"--listen 9400":        `--listen "9400" is not an address; it should look like 127.0.0.1:9400`,
		"--s3-listen here":     `--s3-listen "here" is not an address; it should look like 127.0.0.1:9400`,
		"--region Frankfurt":   `--region "Frankfurt" is not a region; it should look like us-east-1`,
		"--account 12":         `--account "12" is not an account; it should be twelve digits`,
		"--cpus -1":            "--cpus -1 is below zero",
		"--memory 12":          `--memory "12" is not an amount of memory; it should look like 16GiB`,
		"--log-level shouting": `--log-level "shouting" is none of debug, info, warn, error`,
		"now":                  `up takes no argument, so "now" is too much; see: stint up --help`,
	} {
		b := newBundle(t)
		if code, out, stderr := b.run(append([]string{"up"}, strings.Fields(args)...)...); code != 2 || out != "" || stderr != "stint: "+want+"\n" {
			t.Errorf("up %s: exit %d, out %q, err %q", args, code, out, stderr)
		}
	}
}

// TestUpSite: a data folder keeps the region and account that it had, unless told otherwise.
func TestUpSite(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	used, fresh := string(b.home), t.TempDir()
	for _, tt := range []struct {
		home string
		f    upFlags
		want platform.Site
	}{
		{used, upFlags{}, apitest.Site},
		{used, upFlags{region: "cn-north-1"}, platform.Site{Partition: "aws-cn", Region: "cn-north-1", Account: apitest.Site.Account}},
		{fresh, upFlags{}, platform.Site{Partition: "aws", Region: "us-east-1", Account: "000000000000"}},
		{fresh, upFlags{account: "111122223333"}, platform.Site{Partition: "aws", Region: "us-east-1", Account: "111122223333"}},
	} {
		tt.f.listen, tt.f.s3Listen, tt.f.logLevel = "127.0.0.1:0", "127.0.0.1:0", "warn"
		b.homeFolder = tt.home
		o, err := b.upOptions(&tt.f)
		if err != nil || o.Site != tt.want || string(o.Home) != tt.home {
			t.Errorf("%+v: %+v, %v", tt.f, o, err)
		}
	}
}

func TestExplainStart(t *testing.T) {
	t.Parallel()
	address := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9400}
	for want, err := range map[string]error{
		"cannot listen on 127.0.0.1:9400: address already in use; stop what listens there, or choose other addresses with --listen and --s3-listen": fmt.Errorf("front door: listen: %w",
			&net.OpError{Op: "listen", Addr: address, Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}),
		"cannot listen on 127.0.0.1:9400: permission denied; choose other addresses with --listen and --s3-listen": fmt.Errorf("front door: listen: %w",
			&net.OpError{Op: "listen", Addr: address, Err: os.NewSyscallError("bind", syscall.EACCES)}),
		"the database is in use by process 7; stop it, or choose another data folder with --home": fmt.Errorf("data folder: %w",
			platform.Errorf(platform.InUse, "", "the database is in use by process 7; stop it, or choose another data folder")),
		"the data folder /ro cannot be used: mkdir /ro: permission denied; choose one that you may write with --home": fmt.Errorf("data folder: %w",
			&fs.PathError{Op: "mkdir", Path: "/ro", Err: syscall.EACCES}),
		"something else": errors.New("something else"),
	} {
		if got := explainStart(err, server.Options{Home: "/ro"}).Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestRuntimeTable(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	python, err := os.Executable() // any program will do
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args, out, err string
		code           int
	}{
		{args: "add mine", err: "stint: a runtime needs an --image, and a --python or an --entry; see: stint runtime add --help\n", code: 2},
		{args: "add mine --image a --python /nowhere/python", err: "stint: --python /nowhere/python is not an executable file\n", code: 2},
		{args: "add a/b --image a --python " + python, err: "stint: a runtime needs a name without slashes or blanks, and an image pattern\n", code: 1},
		{args: "add mine --image mine:* --image other --python " + python, out: "mine  added for mine:*, other\n"},
		{args: "add tool --image tool --entry /opt/tool", out: "tool  added for tool\n"},
		{args: "install cobol", err: "stint: there is no runtime \"cobol\"; there are [tool mine sklearn xgboost pytorch python onnx exec]\n", code: 1},
		{args: "install exec", err: "✓ exec  is installed\n"},
		{args: "install", err: "stint: install needs the names of runtimes; see: stint runtime install --help\n", code: 2},
	} {
		code, out, stderr := b.run(append([]string{"runtime"}, strings.Fields(tt.args)...)...)
		if code != tt.code || out != tt.out || stderr != tt.err {
			t.Errorf("runtime %s: exit %d, out %q, err %q", tt.args, code, out, stderr)
		}
	}
	_, out, _ := b.run("runtime", "list")
	golden(t, "runtimes.txt", strings.ReplaceAll(out, python, "PYTHON"))
	var listed struct{ Runtimes []listedRuntime }
	_, out, _ = b.run("runtime", "list", "--json")
	if err := json.Unmarshal([]byte(out), &listed); err != nil || len(listed.Runtimes) != 8 || listed.Runtimes[1].Python != python || !listed.Runtimes[1].Installed {
		t.Errorf("%v %s", err, out)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	if code, out, _ := b.run("version"); code != 0 || !strings.HasPrefix(out, "stint ") {
		t.Errorf("exit %d, %q", code, out)
	}
	var v versionAnswer
	_, out, _ := b.run("version", "--json")
	if err := json.Unmarshal([]byte(out), &v); err != nil || v.Version == "" || v.Go == "" {
		t.Errorf("%v %s", err, out)
	}
}
