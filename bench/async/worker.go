package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
)

// held begins a body that names where to ask, and to wait, before it is answered.
const held = "wait for "

// work is the model: it echoes. It is this program in the container.
func work() error {
	http.HandleFunc("GET /ping", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("POST /invocations", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if where, waits := bytes.CutPrefix(body, []byte(held)); waits && err == nil {
			err = wait(r, string(where))
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body) // who asked has gone
	})
	return http.ListenAndServe(":"+os.Getenv("SAGEMAKER_BIND_TO_PORT"), nil) //nolint:gosec // in a container of a benchmark
}

func wait(r *http.Request, where string) error {
	request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, where, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("wait: %w", err)
	}
	return answer.Body.Close()
}
