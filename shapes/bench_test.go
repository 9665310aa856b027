package shapes_test

import (
	"os"
	"testing"

	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// BenchmarkCreateTrainingJob decodes and validates what SDK 2.x sends for a
// typical estimator; the goal is 60 µs.
func BenchmarkCreateTrainingJob(b *testing.B) {
	body := readFile(b, "testdata/create-training-job.json")
	operation := sagemaker.Service.Operation("CreateTrainingJob")
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		request := operation.NewInput()
		if err := shapes.DecodeJSON(body, operation.Input, request); err != nil {
			b.Fatal(err)
		}
		if err := shapes.Validate(operation.Input, request); err != nil {
			b.Fatal(err)
		}
	}
}

func readFile(tb testing.TB, path string) []byte {
	tb.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return content
}
