package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/stint-ml/stint/bench/rig"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/wire/sigv4"
)

// measureMoto starts moto's server mode as its documentation says and asks it the same.
func measureMoto(ctx context.Context, o options, work string, report *rig.Report) (*figures, error) {
	fmt.Println("==> starting moto")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	endpoint := fmt.Sprintf("http://127.0.0.1:%d", port)
	server := exec.Command(filepath.Join(o.moto, "bin", "moto_server"), "-H", "127.0.0.1", "-p", fmt.Sprint(port))
	server.Env, server.Dir = rig.CleanEnvironment(), work
	var output bytes.Buffer
	server.Stderr = &tail{keep: &output}
	if err := server.Start(); err != nil {
		return nil, fmt.Errorf("is moto there (scripts/setup.sh moto)? %w", err)
	}
	defer func() {
		_ = server.Process.Kill() // it keeps nothing
		_ = server.Wait()
	}()
	err = rig.Eventually(ctx, 60*time.Second, "moto to serve", func() (bool, error) {
		r, err := http.Get(endpoint + "/moto-api/data.json")
		if err != nil {
			return false, nil
		}
		return r.StatusCode == http.StatusOK, r.Body.Close()
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, &output)
	}
	site := platform.Site{Partition: "aws", Region: "us-east-1", Account: "123456789012"}
	caller, err := rig.NewCaller(endpoint, site, sigv4.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "any"})
	if err != nil {
		return nil, err
	}
	o.each /= 3 // it does nothing now and then
	p := &phases{options: o, caller: caller, site: site, pid: server.Process.Pid, within: o.peerFor}
	for _, phase := range []func(context.Context) error{p.create, p.describe, p.list} {
		if err := phase(ctx); err != nil {
			return nil, fmt.Errorf("moto: %w: %s", err, &output)
		}
	}
	version, err := exec.CommandContext(ctx, filepath.Join(o.moto, "bin", "python"), "-c", "import moto; print(moto.__version__)").Output()
	report.Details["moto"], report.Details["moto_version"] = p.figures.summary(), strings.TrimSpace(string(version))
	return &p.figures, err
}

// tail keeps the last of what a server prints, a line for each call.
type tail struct{ keep *bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	if t.keep.Len() > 8<<10 {
		t.keep.Reset()
	}
	return t.keep.Write(p)
}
