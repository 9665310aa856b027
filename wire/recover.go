package wire

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
)

// Render writes an error in the protocol that the request speaks.
type Render func(http.ResponseWriter, *http.Request, *Error)

// Recover contains a panic of next to the call that caused it: the client
// reads 500 InternalFailure through render, the log gets the panic, the stack
// and the request id, and the server goes on. When part of an answer has
// already left, the connection is cut instead, so that a truncated answer
// cannot pass for a whole one. Place it inside Identify.
func Recover(next http.Handler, log *slog.Logger, render Render) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		watched := &watchedWriter{ResponseWriter: w}
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(cause) // the sanctioned way to cut a connection
			}
			log.ErrorContext(r.Context(), "handler panicked",
				"request_id", RequestID(r.Context()),
				"method", r.Method,
				"path", r.URL.Path,
				"panic", cause,
				"stack", string(debug.Stack()))
			if watched.committed {
				panic(http.ErrAbortHandler)
			}
			dropBodyHeaders(w.Header())
			render(w, r, InternalFailure())
		}()
		next.ServeHTTP(watched, r)
	})
}

// dropBodyHeaders removes what the failed handler said about a body that will
// not be sent; the request id and the like stay.
func dropBodyHeaders(h http.Header) {
	for _, name := range []string{"Content-Length", "Content-Encoding", "Content-Type", "Etag", "Last-Modified", "Trailer"} {
		h.Del(name)
	}
}

// watchedWriter remembers whether the answer has begun. It keeps the fast
// paths of the writer below it: Flush, ReadFrom (sendfile) and, through
// Unwrap, everything http.ResponseController can reach.
type watchedWriter struct {
	http.ResponseWriter
	committed bool
}

func (w *watchedWriter) WriteHeader(status int) {
	// 1xx answers are announcements; the real one still follows. 101 is final.
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.committed = true
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *watchedWriter) Write(p []byte) (int, error) {
	w.committed = true
	return w.ResponseWriter.Write(p)
}

func (w *watchedWriter) ReadFrom(src io.Reader) (int64, error) {
	w.committed = true
	return io.Copy(w.ResponseWriter, src)
}

func (w *watchedWriter) Flush() {
	w.committed = true
	// A writer that cannot flush has nothing to flush.
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *watchedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
