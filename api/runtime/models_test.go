package runtime_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/platform"
)

const targetModel = "X-Amzn-SageMaker-Target-Model"

func TestAnInvocationNamesItsModel(t *testing.T) {
	t.Parallel()
	d, c := open(t, func(platform.Invocation) (*platform.Answer, error) {
		return answers(200, strings.NewReader("yes")), nil
	})
	for _, name := range []string{"a.tar.gz", "de/ep/größer.tar.gz", "/company/a b.tar.gz", "..a"} {
		r := post(t, d, apitest.Of(d.Root), invocations, nil, targetModel, name)
		if r.StatusCode != 200 {
			t.Fatalf("%s: %d", name, r.StatusCode)
		}
		in := c.asked[len(c.asked)-1]
		if in.Model != name || http.Header(in.Header).Get(targetModel) != name {
			t.Errorf("%s is asked for as %q, %v", name, in.Model, in.Header)
		}
	}
	if r := post(t, d, apitest.Of(d.Root), invocations, nil); r.StatusCode != 200 || c.asked[len(c.asked)-1].Model != "" {
		t.Errorf("no model is asked for as %+v", c.asked[len(c.asked)-1])
	}
}

func TestWhyAModelDidNotAnswer(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]struct {
		status int
		code   string
		again  bool
	}{
		platform.RefusedMissing: {400, "ValidationError", false},
		platform.RefusedUnready: {429, "ModelNotReadyException", true},
		platform.RefusedAway:    {503, "ServiceUnavailable", true},
	} {
		d, _ := open(t, func(platform.Invocation) (*platform.Answer, error) {
			return answers(499, strings.NewReader("said so"), platform.RefusedHeader, kind), nil
		})
		r := post(t, d, apitest.Of(d.Root), invocations, nil, targetModel, "a.tar.gz")
		if said := refused(t, r, want.status); said.Code != want.code || said.Message != "said so" || want.again != (r.Header.Get("Retry-After") != "") {
			t.Errorf("%s is told as %+v, %v", kind, said, r.Header)
		}
		// A container with a model of its own has no say in this.
		if said := refused(t, post(t, d, apitest.Of(d.Root), invocations, nil), http.StatusFailedDependency); said.Code != "ModelError" {
			t.Errorf("of a single model %s is told as %+v", kind, said)
		}
	}
}

func TestAnInvocationWithoutAModelIsToldWhichItIs(t *testing.T) {
	t.Parallel()
	d, _ := open(t, func(platform.Invocation) (*platform.Answer, error) {
		return nil, platform.Errorf(platform.Invalid, "e", "%w", platform.ErrNoTargetModel)
	})
	r := post(t, d, apitest.Of(d.Root), invocations, nil)
	said := refused(t, r, 400)
	if want := fmt.Sprintf("Request %s is missing a target model header.", r.Header.Get("X-Amzn-RequestId")); said.Code != "ValidationError" || said.Message != want {
		t.Errorf("%+v, want %s", said, want)
	}
}
