package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/stint-ml/stint/platform"
)

// What every Front needs: to listen, to ask a container, and to pass its answer on.

const (
	frontHeadTime  = 10 * time.Second
	frontQuietTime = 150 * time.Second // longer than the router keeps connections that are idle, so that it is the one to end them

	containerIdle     = 256 // connections to a container
	containerIdleTime = 90 * time.Second
	containerDialTime = 2 * time.Second

	// SmallBody is up to where a request's body is read whole, so that it can be sent again on another connection.
	SmallBody = 64 << 10
	relayPart = 32 << 10
)

// FrontServer makes the server of a Front.
func FrontServer(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: frontHeadTime, IdleTimeout: frontQuietTime}
}

// ContainerTransport makes what a Front reaches containers by.
func ContainerTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: containerDialTime}
	return &http.Transport{
		DialContext: dialer.DialContext, MaxIdleConnsPerHost: containerIdle, IdleConnTimeout: containerIdleTime,
		DisableCompression: true, WriteBufferSize: 32 << 10, ReadBufferSize: 32 << 10,
	}
}

// ContainerRequest makes a POST of what a caller sent, of so many bytes, or of a length that is not known when it is negative.
// An error is one of reading the body.
func ContainerRequest(ctx context.Context, url string, h http.Header, body io.Reader, length int64) (*http.Request, error) {
	h.Del("Connection")
	if length > 0 && length <= SmallBody {
		// The container may have ended the connection that is used: what was not sent on it is sent on another.
		whole := make([]byte, length)
		if _, err := io.ReadFull(body, whole); err != nil {
			return nil, err
		}
		body = bytes.NewReader(whole)
	}
	if length == 0 {
		body = http.NoBody
	}
	out, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	if err == nil {
		out.Header, out.ContentLength = h, length
	}
	return out, err
}

// relayBuffers are what answers pass through.
var relayBuffers = sync.Pool{New: func() any { return new([relayPart]byte) }}

// PassOn passes a container's answer on as it comes, and closes it. After an error half of it may have been passed on, which
// must not look like all of it.
func PassOn(w http.ResponseWriter, response *http.Response) error {
	defer response.Body.Close()
	h := w.Header()
	for name, values := range response.Header {
		h[name] = values
	}
	for _, own := range []string{"Connection", "Keep-Alive", platform.RefusedHeader} { // a container's word for the last would be false
		h.Del(own)
	}
	w.WriteHeader(response.StatusCode)
	control, each := http.NewResponseController(w), response.ContentLength < 0 // which may be a stream of words
	buffer := relayBuffers.Get().(*[relayPart]byte)
	defer relayBuffers.Put(buffer)
	for {
		n, err := response.Body.Read(buffer[:])
		if n > 0 {
			if _, err := w.Write(buffer[:n]); err != nil {
				return err
			}
			if each {
				if err := control.Flush(); err != nil {
					return err
				}
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
