package main

import (
	"bufio"
	"net"
	"os"
	"strconv"

	"github.com/valyala/fasthttp"
)

// portVariable tells a container where to listen.
const portVariable = "SAGEMAKER_BIND_TO_PORT"

// streamed is the header by which a client asks the worker for as many bytes, in pieces.
const streamed = "X-Amzn-Sagemaker-Custom-Attributes"

// work is the container that costs next to nothing: it answers a question with itself.
func work() error {
	piece := make([]byte, 64<<10)
	s := &fasthttp.Server{NoDefaultServerHeader: true, MaxRequestBodySize: 64 << 20, Handler: func(c *fasthttp.RequestCtx) {
		c.SetContentType("application/json")
		n, err := strconv.Atoi(string(c.Request.Header.Peek(streamed)))
		if err != nil {
			c.SetBody(c.Request.Body()) // of /ping: nothing
			return
		}
		c.SetBodyStreamWriter(func(w *bufio.Writer) {
			for ; n > 0; n -= len(piece) {
				if _, err := w.Write(piece[:min(n, len(piece))]); err != nil {
					return
				}
			}
		})
	}}
	return s.ListenAndServe(net.JoinHostPort("127.0.0.1", os.Getenv(portVariable)))
}
