package shapes_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/applicationautoscaling"
	"github.com/stint-ml/stint/shapes/cloudwatch"
	"github.com/stint-ml/stint/shapes/iam"
	"github.com/stint-ml/stint/shapes/logs"
	"github.com/stint-ml/stint/shapes/sagemaker"
	"github.com/stint-ml/stint/shapes/sts"
)

var update = flag.Bool("update", false, "rewrite the expected answers in testdata")

var services = []*shapes.Service{&applicationautoscaling.Service, &cloudwatch.Service, &iam.Service, &logs.Service, &sagemaker.Service, &sts.Service}

const requestsFile = "testdata/requests.txt"

// TestRequests plays the requests of testdata/requests.txt and compares the
// answers, word for word. A case is "== name", a line "service Operation", the
// body, a line "--" and the answer.
func TestRequests(t *testing.T) {
	t.Parallel()
	preamble, cases, _ := strings.Cut(string(readFile(t, requestsFile)), "\n== ")
	rewritten := preamble
	for _, text := range strings.Split(cases, "\n== ") {
		name, rest, _ := strings.Cut(text, "\n")
		target, rest, _ := strings.Cut(rest, "\n")
		body, want, _ := strings.Cut(rest, "\n--\n")
		got := answer(t, target, []byte(expand(body)))
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if want = strings.TrimSpace(want); got != want && !*update {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
		rewritten += fmt.Sprintf("\n== %s\n%s\n%s\n--\n%s\n", name, target, body, got)
	}
	if *update {
		if err := os.WriteFile(requestsFile, []byte(rewritten), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// expand writes out "<x*300>" as 300 times x, to keep the file readable.
func expand(body string) string {
	for {
		before, rest, found := strings.Cut(body, "<")
		if !found {
			return body
		}
		inner, after, _ := strings.Cut(rest, ">")
		text, count, _ := strings.Cut(inner, "*")
		var n int
		if _, err := fmt.Sscan(count, &n); err != nil {
			panic("testdata: bad repeat <" + inner + ">")
		}
		body = before + strings.Repeat(text, n) + after
	}
}

func answer(t *testing.T, target string, body []byte) string {
	t.Helper()
	operation := find(t, target)
	request := operation.NewInput()
	err := shapes.DecodeJSON(body, operation.Input, request)
	var serialization *shapes.SerializationError
	if errors.As(err, &serialization) {
		return fmt.Sprintf("SerializationException at %q: %s", serialization.Path, serialization.Message)
	}
	if err == nil {
		err = shapes.Validate(operation.Input, request)
	}
	var validation *shapes.ValidationError
	switch {
	case errors.As(err, &validation):
		return shorten(validation.Error())
	case err != nil:
		t.Fatal(err)
	}
	return "ok"
}

// shorten folds what expand wrote out.
func shorten(answer string) string {
	for _, run := range []struct {
		text  string
		count int
	}{{"x", 2501}, {"x", 600}, {"x", 300}, {"é", 257}} {
		answer = strings.ReplaceAll(answer, strings.Repeat(run.text, run.count), fmt.Sprintf("<%s*%d>", run.text, run.count))
	}
	return answer
}

func find(t *testing.T, target string) *shapes.Operation {
	t.Helper()
	service, name, _ := strings.Cut(target, " ")
	for _, candidate := range services {
		if candidate.Name == service {
			if operation := candidate.Operation(name); operation != nil {
				return operation
			}
		}
	}
	t.Fatalf("no operation %q", target)
	return nil
}
