package batch

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// BenchmarkSingleRecords sends records one by one to a container that does nothing but answer, and so does a bare client, for
// comparison.
func BenchmarkSingleRecords(b *testing.B) {
	address := listen(b, func(conn net.Conn) {
		var err error
		for request := make([]byte, 64<<10); err == nil; { // what comes at once is a request
			if _, err = conn.Read(request); err == nil {
				_, err = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nContent-Length: 4\r\n\r\n0.5\n")
			}
		}
	})
	b.Run("sender", func(b *testing.B) {
		sender := NewSender(b.Context(), agent.Batches{
			Address: address, Split: sagemaker.SplitTypeLine, Single: true, Most: 1 << 20, Concurrent: 2, Timeout: time.Minute, ContentType: "text/csv", Clock: platform.SystemClock{},
		})
		defer sender.Close()
		object := strings.Repeat("1,2,3,4\n", b.N)
		b.ReportAllocs()
		b.ResetTimer()
		if err := sender.Object(b.Context(), strings.NewReader(object), io.Discard); err != nil {
			b.Fatal(err)
		}
	})
	b.Run("bare", func(b *testing.B) {
		var wait sync.WaitGroup
		for range 2 {
			wait.Go(func() {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					b.Error(err)
					return
				}
				defer conn.Close()
				into := make([]byte, 1024)
				for range b.N / 2 {
					_, err := io.WriteString(conn, "POST /invocations HTTP/1.1\r\nHost: 127.0.0.1:40000\r\nContent-Type: text/csv\r\nContent-Length: 7\r\n\r\n1,2,3,4")
					if err == nil {
						_, err = conn.Read(into) // all of the answer comes at once
					}
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wait.Wait()
	})
}
