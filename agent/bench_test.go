package agent_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"encoding/json"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// sink is a control plane that takes everything and keeps only counts, going through JSON as the real link does.
type sink struct {
	job   platform.Assignment
	seq   int64
	lines int
	last  *platform.Outcome
}

func (s *sink) Assignment(context.Context, string) (platform.Assignment, error) { return s.job, nil }

func (s *sink) Deliver(_ context.Context, _ string, reports []platform.Report) (platform.Ack, error) {
	if _, err := json.Marshal(reports); err != nil {
		return platform.Ack{}, err
	}
	for _, r := range reports {
		if r.Seq != s.seq+1 {
			return platform.Ack{}, platform.Errorf(platform.Invalid, "", "gap")
		}
		s.seq = r.Seq
		for _, e := range r.Logs {
			if e.Message != fmt.Sprintf("%099d", s.lines) {
				return platform.Ack{}, platform.Errorf(platform.Invalid, "", "line %d is %q", s.lines, e.Message)
			}
			s.lines++
		}
		if r.Outcome != nil {
			s.last = r.Outcome
		}
	}
	return platform.Ack{Seq: s.seq}, nil
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkLogShipping: lines of 100 bytes from a child through the pipe, the spool and the delivery. The bound is 50,000
// lines/s with less than one core.
func BenchmarkLogShipping(b *testing.B) {
	const lines = 1_000_000
	text := filepath.Join(b.TempDir(), "lines")
	f, err := os.Create(text)
	if err != nil {
		b.Fatal(err)
	}
	for i := range lines {
		fmt.Fprintf(f, "%099d\n", i)
	}
	f.Close()
	for b.Loop() {
		dir := b.TempDir()
		spec, err := json.Marshal(sagemaker.CreateTrainingJobRequest{AlgorithmSpecification: &sagemaker.AlgorithmSpecification{
			ContainerEntrypoint: []string{"cat", text},
			MetricDefinitions:   []sagemaker.MetricDefinition{{Name: new("loss"), Regex: new("loss=([0-9.]+)")}, {Name: new("acc"), Regex: new("acc: ([0-9.]+)")}},
		}})
		if err != nil {
			b.Fatal(err)
		}
		s := &sink{job: platform.Assignment{Spec: spec}}
		cpu, start := cpuTime(), time.Now()
		err = agent.Run(context.Background(), agent.Config{Link: s, Token: "t", Dir: dir, Root: filepath.Join(dir, "ml"),
			Blobs: func(string, platform.Session, string) platform.Blobs { return nil }, Log: slog.New(slog.DiscardHandler)})
		if err != nil || s.lines != lines || s.last.Kind != platform.Succeeded {
			b.Fatal(err, s.lines, s.last)
		}
		took := time.Since(start)
		b.ReportMetric(lines/took.Seconds(), "lines/s")
		b.ReportMetric((cpuTime()-cpu).Seconds()/(lines/50_000), "cores_at_50k_lines/s")
	}
}

// nowhere takes an upload and forgets it.
type nowhere struct{ platform.Blobs }

func (nowhere) Upload(_ context.Context, _ platform.URI, r io.Reader) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, make([]byte, 8<<20))
	return err
}

// writeModel fills a model folder with one file.
func writeModel(b *testing.B, folder string, size int, fill func([]byte)) {
	b.Helper()
	if err := os.MkdirAll(folder, 0o755); err != nil {
		b.Fatal(err)
	}
	f, err := os.Create(filepath.Join(folder, "weights"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	chunk := make([]byte, 8<<20)
	for range size / len(chunk) {
		fill(chunk)
		if _, err := f.Write(chunk); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkModelArchive: how fast a model folder becomes a .tar.gz stream.
func BenchmarkModelArchive(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	const size = 512 << 20
	kinds := map[string]func([]byte){
		"noise": func(p []byte) {
			for i := range p {
				p[i] = byte(random.Uint32())
			}
		},
		"floats": func(p []byte) { // float32 weights as a trained layer has them
			for i := 0; i+4 <= len(p); i += 4 {
				bits := math.Float32bits(float32(random.NormFloat64() * 0.02))
				p[i], p[i+1], p[i+2], p[i+3] = byte(bits), byte(bits>>8), byte(bits>>16), byte(bits>>24)
			}
		},
		"text": func(p []byte) {
			for n := 0; n < len(p); {
				n += copy(p[n:], fmt.Sprintf("{\"feature\": %d, \"threshold\": %.6f}, ", random.IntN(500), random.Float64()))
			}
		},
		"zeros": func(p []byte) { clear(p) },
	}
	for name, fill := range kinds {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			writeModel(b, filepath.Join(dir, "ml", "model"), size, fill)
			b.SetBytes(size)
			for b.Loop() {
				s := &sink{job: platform.Assignment{Spec: []byte(`{"AlgorithmSpecification":{"ContainerEntrypoint":["true"]}}`), Output: "s3://b/o"}}
				err := agent.Run(context.Background(), agent.Config{Link: s, Token: "t", Dir: filepath.Join(b.TempDir(), "a"), Root: filepath.Join(dir, "ml"),
					Blobs: func(string, platform.Session, string) platform.Blobs { return nowhere{} }})
				if err != nil || s.last.Kind != platform.Succeeded || s.last.Model == "" {
					b.Fatal(err, s.last)
				}
			}
		})
	}
}
