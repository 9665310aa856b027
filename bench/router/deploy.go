package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/stint-ml/stint/bench/rig"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// worker is a container of an endpoint of Stint's.
type worker struct {
	name    string
	address string // where it is asked directly
}

// instance is the type of all instances: of its promises only the memory matters here.
const instance = "ml.t2.medium"

// markVariable marks the processes of a worker.
const markVariable = "STINT_BENCH_WORKER"

// deploy brings an endpoint up whose model is a folder's files.
func deploy(ctx context.Context, s *rig.Server, name, runtime string, files map[string][]byte, more ...string) (*worker, error) {
	archive := filepath.Join(filepath.Dir(s.Home), name+".tar.gz")
	packed, err := rig.Pack(files)
	if err == nil {
		err = os.WriteFile(archive, packed, 0o644)
	}
	if err != nil {
		return nil, err
	}
	args := append([]string{"deploy", archive, "--runtime", runtime, "--name", name, "--home", s.Home, "--env", markVariable + "=" + name}, more...)
	c := exec.CommandContext(ctx, os.Getenv("STINT_BIN"), args...) //nolint:gosec // the program under test
	c.Env = rig.CleanEnvironment()
	if out, err := c.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("stint deploy: %w: %s", err, out)
	}
	port, err := portOf(name)
	return &worker{name: name, address: "127.0.0.1:" + port}, err
}

// deployCaptured brings up another endpoint of a model, of which every request is captured.
func deployCaptured(ctx context.Context, s *rig.Server, model string) error {
	const bucket = "bench-captured"
	name := captured
	capture := &sagemaker.DataCaptureConfig{
		InitialSamplingPercentage: new(int32(100)), DestinationS3Uri: new("s3://" + bucket + "/all"),
		CaptureOptions:           []sagemaker.CaptureOption{{CaptureMode: new(sagemaker.CaptureModeInput)}, {CaptureMode: new(sagemaker.CaptureModeOutput)}},
		CaptureContentTypeHeader: &sagemaker.CaptureContentTypeHeader{JsonContentTypes: []string{"application/json"}},
	}
	variant := rig.OneInstance(model)
	variant.InstanceType = new(sagemaker.ProductionVariantInstanceType(instance))
	if err := s.Client.EnsureBucket(ctx, bucket); err != nil {
		return err
	}
	err := s.Client.CreateEndpointConfig(ctx, &sagemaker.CreateEndpointConfigInput{
		EndpointConfigName: &name, ProductionVariants: []sagemaker.ProductionVariant{variant}, DataCaptureConfig: capture,
	})
	if err == nil {
		_, err = s.CreateEndpoint(ctx, name, name)
	}
	return err
}

// portOf finds where a worker listens by the environment of its processes.
func portOf(name string) (string, error) {
	processes, _ := filepath.Glob("/proc/[0-9]*/environ") // the pattern is good
	for _, file := range processes {
		environment, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(environment, []byte(markVariable+"="+name+"\x00")) {
			continue
		}
		for _, v := range strings.Split(string(environment), "\x00") {
			if port, found := strings.CutPrefix(v, portVariable+"="); found {
				return port, nil
			}
		}
	}
	return "", fmt.Errorf("no process of the worker %s is to be seen", name)
}

// nginx is a reverse proxy before workers, at a port for each.
type nginx struct {
	cmd *exec.Cmd
}

const nginxConfiguration = `
%s
worker_processes auto;
worker_rlimit_nofile 20000;
daemon off;
pid %[2]s/nginx.pid;
error_log %[2]s/nginx.log;
events { worker_connections 10000; }
http {
  access_log off;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  keepalive_timeout 600;
  client_body_buffer_size 32k;
  client_body_temp_path %[2]s; proxy_temp_path %[2]s; fastcgi_temp_path %[2]s; uwsgi_temp_path %[2]s; scgi_temp_path %[2]s;
  proxy_http_version 1.1;
  proxy_set_header Connection "";
%[3]s}
`

const nginxServer = `
  upstream %[1]s { server %[2]s; keepalive 128; keepalive_requests 1000000000; }
  server { listen %[3]s; location / { proxy_pass http://%[1]s; } }
`

// startNginx starts it in a folder, and gives the addresses at which it is before each worker.
func startNginx(ctx context.Context, folder string, workers []*worker) (*nginx, map[string]string, error) {
	program, err := exec.LookPath("nginx")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/nginx"); err != nil {
			return nil, nil, fmt.Errorf("nginx is missing; scripts/debian.sh bench installs it: %w", err)
		}
	}
	servers, at := "", map[string]string{}
	for _, w := range workers {
		if at[w.name], err = freeAddress(); err != nil {
			return nil, nil, err
		}
		servers += fmt.Sprintf(nginxServer, w.name, w.address, at[w.name])
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;" // its own could not write into the folder
	}
	file := filepath.Join(folder, "nginx.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, nginxConfiguration, user, folder, servers), 0o644); err != nil {
		return nil, nil, err
	}
	n := &nginx{exec.Command(program, "-p", folder, "-c", file)} //nolint:gosec // the peer
	var said bytes.Buffer
	n.cmd.Stdout, n.cmd.Stderr = &said, &said
	if err := n.cmd.Start(); err != nil {
		return nil, nil, err
	}
	for _, address := range at {
		if err := rig.Eventually(ctx, answersWithin, "nginx at "+address, func() (bool, error) { return listens(address), nil }); err != nil {
			n.stop()
			return nil, nil, fmt.Errorf("%w: %s", err, &said)
		}
	}
	return n, at, nil
}

func (n *nginx) stop() {
	_ = n.cmd.Process.Signal(os.Interrupt) // it may have ended already
	_ = n.cmd.Wait()
}

// processes are nginx's own.
func (n *nginx) processes() []int { return append(children(n.cmd.Process.Pid), n.cmd.Process.Pid) }

// children are a process's.
func children(pid int) (pids []int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid)) // none
	for _, word := range strings.Fields(string(text)) {
		if child, err := strconv.Atoi(word); err == nil {
			pids = append(pids, child)
		}
	}
	return pids
}
