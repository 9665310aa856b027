// Package link is the agent's side of its connection to the control plane over HTTP.
//
// The server writes its address into a file, {"endpoint": "http://127.0.0.1:9400"}; a server that comes back on another port
// writes it anew. What goes over the wire is in platform/refusal.go; the other side is api/agents.
//
// An answer that is neither 200 nor a platform.Refusal did not come from a control plane (another program has the port now, a
// proxy answered) and counts as Unavailable, as does no answer: only the control plane itself may turn an agent away.
//
// Nothing here retries or keeps anything; that is the agent's work.
package link

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/stint-ml/stint/platform"
)

// answerLimit bounds what is read of an answer; an assignment holds a whole request, of which AWS allows much less.
const answerLimit = 16 << 20

// client implements platform.AgentLink.
type client struct {
	serverFile string
	http       *http.Client

	mu       sync.Mutex
	endpoint string // as last read; empty: read the file
}

// Dial makes a link to the server whose address is in serverFile. It does not connect yet: a server that is away shows in the
// calls.
func Dial(serverFile string) platform.AgentLink {
	return &client{serverFile: serverFile, http: &http.Client{
		Transport: &http.Transport{
			DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
			MaxIdleConns:          2,
			IdleConnTimeout:       time.Minute,
			ResponseHeaderTimeout: time.Minute,
			DisableCompression:    true, // the server is near
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Assignment implements platform.AgentLink.
func (c *client) Assignment(ctx context.Context, token string) (platform.Assignment, error) {
	var a platform.Assignment
	return a, c.call(ctx, platform.AgentAssignmentPath, token, nil, &a)
}

// Deliver implements platform.AgentLink.
func (c *client) Deliver(ctx context.Context, token string, reports []platform.Report) (platform.Ack, error) {
	var ack platform.Ack
	if reports == nil {
		reports = []platform.Report{}
	}
	body, err := json.Marshal(reports)
	if err != nil {
		return ack, platform.Errorf(platform.Internal, "", "encode reports: %w", err)
	}
	return ack, c.call(ctx, platform.AgentReportsPath, token, body, &ack)
}

func (c *client) call(ctx context.Context, path, token string, body []byte, into any) error {
	endpoint, err := c.address()
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint+path, bytes.NewReader(body))
	if err != nil {
		return platform.Errorf(platform.Unavailable, c.serverFile, "the server's address %q in %s is not a URL: %w", endpoint, c.serverFile, err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		return c.away(endpoint, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, answerLimit))
	if err != nil {
		return c.away(endpoint, err)
	}
	if response.StatusCode != http.StatusOK {
		return c.refused(endpoint, response.StatusCode, answer)
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return c.away(endpoint, err)
	}
	return nil
}

// address is the server's address, from the file when it is not known.
func (c *client) address() (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.endpoint != "" {
		return c.endpoint, nil
	}
	doc, err := os.ReadFile(c.serverFile)
	if err != nil {
		return "", platform.Errorf(platform.Unavailable, c.serverFile, "the server's address cannot be read: %w", err)
	}
	var server struct {
		Endpoint string `json:"endpoint"`
	}
	if err := json.Unmarshal(doc, &server); err != nil || server.Endpoint == "" {
		return "", platform.Errorf(platform.Unavailable, c.serverFile, "%s holds no server's address", c.serverFile)
	}
	c.endpoint = strings.TrimSuffix(server.Endpoint, "/")
	return c.endpoint, nil
}

// away says that nobody, or somebody else, answered, and has the address read anew.
func (c *client) away(endpoint string, cause error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endpoint = ""
	c.http.CloseIdleConnections()
	return platform.Errorf(platform.Unavailable, endpoint, "the control plane at %s does not answer: %w", endpoint, cause)
}

// refused reads a refusal.
func (c *client) refused(endpoint string, status int, answer []byte) error {
	var r platform.Refusal
	if json.Unmarshal(answer, &r) == nil {
		if err, ok := r.Error(endpoint); ok {
			return err
		}
	}
	return c.away(endpoint, platform.Errorf(platform.Unavailable, endpoint, "status %d, which no control plane sent", status))
}
