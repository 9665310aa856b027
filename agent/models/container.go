package models

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/platform"
)

// longestAnswer is how much of what the container answers to what is no invocation is read.
const longestAnswer = 10 << 10

// container is the contract's other side.
type container struct {
	url       string
	transport *http.Transport
}

func newContainer(address string) *container {
	return &container{url: "http://" + address, transport: agent.ContainerTransport()}
}

func (c *container) close() { c.transport.CloseIdleConnections() }

// answer is what the container said to something that it did not do.
type answer struct {
	status      int
	contentType string
	text        []byte
}

func (a *answer) Error() string {
	return fmt.Sprintf("the container answers with status %d: %s", a.status, strings.ToValidUTF8(string(a.text), "\uFFFD"))
}

// load asks the container to load a model. One that it has already is as good.
func (c *container) load(ctx context.Context, m *model, folder string) error {
	body, err := json.Marshal(map[string]string{"model_name": m.id, "url": folder})
	if err != nil {
		return err
	}
	said, err := c.ask(ctx, http.MethodPost, "/models", m.name, body)
	if err != nil {
		return err
	}
	if said.status == http.StatusConflict || said.status/100 == 2 {
		return nil
	}
	return said
}

// unload asks the container to unload a model. One that it does not have is as good.
func (c *container) unload(ctx context.Context, m *model) error {
	said, err := c.ask(ctx, http.MethodDelete, "/models/"+m.id, m.name, nil)
	if err != nil {
		return err
	}
	if said.status == http.StatusNotFound || said.status/100 == 2 {
		return nil
	}
	return said
}

// memory asks what a model uses; 0: the container does not tell.
func (c *container) memory(ctx context.Context, m *model) (int64, error) {
	said, err := c.ask(ctx, http.MethodGet, "/models/"+m.id, m.name, nil)
	if err != nil {
		return 0, err
	}
	if said.status != http.StatusOK {
		return 0, said
	}
	var of struct {
		MemoryBytes int64 `json:"memoryBytes"`
	}
	if json.Unmarshal(said.text, &of) != nil {
		return 0, nil // it is free to say something else
	}
	return max(0, of.MemoryBytes), nil
}

// ask asks for something that is no invocation.
func (c *container) ask(ctx context.Context, method, path, model string, body []byte) (*answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	request.Header[platform.TargetModelHeader] = []string{model}
	response, err := c.transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, longestAnswer))
	return &answer{response.StatusCode, response.Header.Get("Content-Type"), text}, err
}
