package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stint-ml/stint/bench/rig"
	"github.com/stint-ml/stint/cmd/stint/server"
)

// payloads are the requests' bodies for an object: a line each, or as many as 6 MB hold.
func payloads(object string, single bool) []string {
	if single {
		return strings.Split(strings.TrimSuffix(object, "\n"), "\n")
	}
	var out []string
	for len(object) > 0 {
		end := len(object)
		if most := 6 << 20; end > most {
			end = strings.LastIndexByte(object[:most], '\n') + 1
		}
		out, object = append(out, strings.TrimSuffix(object[:end], "\n")), object[end:]
	}
	return out
}

// bare starts the model server as a job's agent does, and posts the payloads to it.
func (b *bench) bare(ctx context.Context, payloads []string) (time.Duration, error) {
	root := filepath.Join(b.work, "ml")
	code := filepath.Join(root, "model", "code")
	if err := os.MkdirAll(code, 0o755); err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(code, "inference.py"), []byte(program), 0o644); err != nil {
		return 0, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") // for a port that is free
	if err != nil {
		return 0, err
	}
	address := listener.Addr().String()
	listener.Close()
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.Command(filepath.Join(b.runtimes, "python", "bin", "python"), server.Home(b.stint.Home).ServeProgram(), "--root", root)
	cmd.Env = append(rig.CleanEnvironment(), "SAGEMAKER_BATCH=true", "SAGEMAKER_BIND_TO_PORT="+port, "SAGEMAKER_MODEL_SERVER_WORKERS="+strconv.Itoa(connections))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it may have ended by itself
		_ = cmd.Wait()                                      // killed
	}()
	err = rig.Eventually(ctx, time.Minute, "the model server", func() (bool, error) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return false, nil
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
		line, _ := bufio.NewReader(conn).ReadString('\n') // none: not yet
		return strings.Contains(line, " 200 "), nil
	})
	if err != nil {
		return 0, err
	}
	began := time.Now()
	group, _ := errgroup.WithContext(ctx)
	for n := range connections {
		group.Go(func() error {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				return err
			}
			defer conn.Close()
			c := &client{conn: conn, reader: bufio.NewReaderSize(conn, 64<<10)}
			for i := n; i < len(payloads); i += connections {
				if err := c.post(payloads[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = group.Wait()
	return time.Since(began), err
}

// client is a connection with next to no work of its own.
type client struct {
	conn   net.Conn
	reader *bufio.Reader
	buffer []byte
}

// post sends a payload and reads its answer, which must be a success, without keeping it.
func (c *client) post(payload string) error {
	c.buffer = append(c.buffer[:0], "POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: "...)
	c.buffer = append(strconv.AppendInt(c.buffer, int64(len(payload)), 10), "\r\n\r\n"...)
	if _, err := c.conn.Write(append(c.buffer, payload...)); err != nil {
		return err
	}
	length, first := 0, true
	for {
		line, err := c.reader.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && !bytes.Contains(line, []byte(" 200 ")) {
			return fmt.Errorf("the server answered %s", bytes.TrimSpace(line))
		}
		first = false
		if len(line) <= 2 {
			break
		}
		if name, value, _ := bytes.Cut(line, []byte(":")); bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	_, err := c.reader.Discard(length)
	return err
}
