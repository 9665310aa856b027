package api

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/iam"
	"github.com/stint-ml/stint/shapes/logs"
	"github.com/stint-ml/stint/shapes/sagemaker"
	"github.com/stint-ml/stint/wire"
	"github.com/stint-ml/stint/wire/sigv4"
)

var updateErrors = flag.Bool("update-errors", false, "rewrite testdata/errors.txt")

// TestErrorTable holds every kind of error in every family against a text file.
func TestErrorTable(t *testing.T) {
	t.Parallel()
	families := []*Service{
		{Model: &sagemaker.Service},
		{Model: &logs.Service, Words: LogsWords},
		{Model: &iam.Service, Words: IAMWords},
	}
	invalid := shapes.Validate(sagemaker.Service.Operation("DescribeTrainingJob").Input, &sagemaker.DescribeTrainingJobRequest{})
	var out strings.Builder
	for _, f := range families {
		fmt.Fprintf(&out, "# %s\n", f.Model.Name)
		line := func(what string, err error) {
			e := render(f, nil, err)
			fmt.Fprintf(&out, "%-28s %d %s: %s\n", what, e.Status, e.Code, e.Message)
		}
		for kind := platform.Internal; kind <= platform.Unavailable; kind++ {
			line(kind.String(), platform.Errorf(kind, "r", "what was wrong"))
		}
		line("wrapped", fmt.Errorf("context: %w", platform.Errorf(platform.NotFound, "r", "what was wrong")))
		line("unclassified", fmt.Errorf("the disk at /secret/place is on fire"))
		line("own code", WithCode("SomethingElse", platform.Errorf(platform.NotFound, "r", "what was wrong")))
		line("constraint", invalid)
		line("serialization", &shapes.SerializationError{Message: "Expected null"})
		line("body too large", &wire.Error{Status: 413, Code: "RequestEntityTooLarge", Message: "too large"})
		line("signature", &sigv4.Failure{Reason: sigv4.UnknownKey})
		out.WriteString("\n")
	}
	out.WriteString("# iam, an operation's own codes with the model's status\n")
	replaced := &operation{model: iam.Service.Operation("CreateUser"), Operation: Operation{Codes: map[platform.ErrorKind]string{platform.NotFound: "InvalidInput"}}}
	for _, err := range []error{
		platform.Errorf(platform.NotFound, "r", "replaced for the kind"),
		WithCode("ConcurrentModification", platform.Errorf(platform.Invalid, "r", "by the handler")),
		WithCode("NotInTheModel", platform.Errorf(platform.Invalid, "r", "by the handler")),
	} {
		e := render(families[2], replaced, err)
		fmt.Fprintf(&out, "%d %s: %s\n", e.Status, e.Code, e.Message)
	}

	const file = "testdata/errors.txt"
	if *updateErrors {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("the table differs from %s:\n%s", file, out.String())
	}
}

func TestEveryKindHasAnAnswer(t *testing.T) {
	t.Parallel()
	for kind := platform.Internal; !strings.HasPrefix(kind.String(), "ErrorKind"); kind++ {
		for words, a := range answers[kind] {
			if a.code == "" || a.status < 400 {
				t.Errorf("%s has no answer in family %d", kind, words)
			}
		}
	}
}
