package shapes_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
	"pgregory.net/rapid"
)

// TestRoundTrip: any request of any operation with the right types is read, and
// written again by encoding/json, without loss. Stored specs rely on it.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		service := rapid.SampledFrom(services).Draw(t, "service")
		operation := rapid.SampledFrom(service.Operations).Draw(t, "operation")
		want, _ := draw(t, operation.Input, 0).(map[string]any)
		body, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		request := operation.NewInput()
		if err := shapes.DecodeJSON(body, operation.Input, request); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		written, err := json.Marshal(request)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(written, &got); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%s is written as %s", body, written)
		}
	})
}

// draw makes a value of the shape's type, constraints aside.
func draw(t *rapid.T, shape *shapes.Shape, depth int) any {
	switch shape.Kind {
	case shapes.KindStructure, shapes.KindUnion:
		object := map[string]any{}
		for _, member := range shape.Members {
			if depth < 5 && rapid.Bool().Draw(t, "present") {
				object[member.Name] = draw(t, member.Shape, depth+1)
			}
		}
		return object
	case shapes.KindList:
		list := []any{}
		most := 3
		if shape.HasMax {
			most = min(most, int(shape.Max))
		}
		for range rapid.IntRange(0, most).Draw(t, "length") {
			list = append(list, draw(t, shape.Elem, depth+1))
		}
		return list
	case shapes.KindMap:
		object := map[string]any{}
		for range rapid.IntRange(0, 3).Draw(t, "length") {
			object[rapid.String().Draw(t, "key")] = draw(t, shape.Elem, depth+1)
		}
		return object
	}
	return drawScalar(t, shape.Kind)
}

func drawScalar(t *rapid.T, kind shapes.Kind) any {
	switch kind {
	case shapes.KindInteger:
		return rapid.Int32().Draw(t, "integer")
	case shapes.KindLong:
		return rapid.Int64().Draw(t, "long")
	case shapes.KindFloat, shapes.KindDouble:
		return rapid.Float64().Draw(t, "double")
	case shapes.KindBoolean:
		return rapid.Bool().Draw(t, "boolean")
	case shapes.KindTimestamp:
		return float64(rapid.Int64Range(0, 4e12).Draw(t, "milliseconds")) / 1000
	case shapes.KindBlob:
		return rapid.SliceOf(rapid.Byte()).Draw(t, "blob")
	}
	return rapid.String().Draw(t, "text")
}

// FuzzRequest: no body makes the reader or the checker panic; a body that is read
// is JSON, and what was read is read again from what is written.
func FuzzRequest(f *testing.F) {
	f.Add(readFile(f, "testdata/create-training-job.json"))
	for _, seed := range []string{
		`{}`, ``, `null`, `[]`, `{"TrainingJobName":"\ud800\u0000","Tags":[{"Key":null}]}`,
		`{"ResourceConfig":{"InstanceCount":1e0,"VolumeSizeInGB":-0}}`, `{"Tags":[{},{}],"Tags":null}`,
		`{"RetryStrategy":{"MaximumRetryAttempts":2147483648}}`, "{\"TrainingJobName\":\"\xff\\\"\"}",
	} {
		f.Add([]byte(seed))
	}
	operation := sagemaker.Service.Operation("CreateTrainingJob")
	f.Fuzz(func(t *testing.T, body []byte) {
		request := operation.NewInput()
		if err := shapes.DecodeJSON(body, operation.Input, request); err != nil {
			var serialization *shapes.SerializationError
			if !errors.As(err, &serialization) {
				t.Fatalf("not a serialization error: %v", err)
			}
			return
		}
		if len(bytes.Trim(body, " \t\r\n")) > 0 && !json.Valid(body) {
			t.Fatalf("read what is not JSON: %q", body)
		}
		var validation *shapes.ValidationError
		if err := shapes.Validate(operation.Input, request); err != nil && !errors.As(err, &validation) {
			t.Fatalf("not a validation error: %v", err)
		}
		written, err := json.Marshal(request)
		if err != nil {
			t.Fatal(err)
		}
		again := operation.NewInput()
		if err := shapes.DecodeJSON(written, operation.Input, again); err != nil || !reflect.DeepEqual(again, request) {
			t.Fatalf("%s is not read as it was written: %v", written, err)
		}
	})
}
