package main

import (
	"bufio"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// question is 1 KB of JSON for the model.
var question = func() string {
	body := `{"instances": ["` + strings.Repeat("What is the answer? ", 50) + `"]}`
	return "POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAccept: application/json\r\nContent-Length: " +
		strconv.Itoa(len(body)) + "\r\n\r\n" + body
}()

// connection is a client with next to no work of its own: on a small machine, what the client uses the server lacks.
type connection struct {
	conn   net.Conn
	reader *bufio.Reader
}

func dial(address string) (*connection, error) {
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return nil, err
	}
	return &connection{conn, bufio.NewReaderSize(conn, 64<<10)}, nil
}

func (c *connection) close() { c.conn.Close() }

// ask sends a request and reads its answer, which must be a success.
func (c *connection) ask(request string) error {
	if _, err := c.conn.Write([]byte(request)); err != nil {
		return err
	}
	length, first := 0, true
	for {
		line, err := c.reader.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && !strings.Contains(string(line), " 200 ") {
			return fmt.Errorf("the server answered %s", strings.TrimSpace(string(line)))
		}
		first = false
		if len(line) <= 2 {
			break
		}
		if name, value, _ := strings.Cut(string(line), ":"); strings.EqualFold(name, "Content-Length") {
			if length, err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
				return err
			}
		}
	}
	_, err := c.reader.Discard(length)
	return err
}
