package runtime_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/platform"
)

const targetContainer = "X-Amzn-SageMaker-Target-Container-Hostname"

func TestAnInvocationNamesItsContainer(t *testing.T) {
	t.Parallel()
	d, c := open(t, func(platform.Invocation) (*platform.Answer, error) {
		return answers(200, strings.NewReader("yes")), nil
	})
	if r := post(t, d, apitest.Of(d.Root), invocations, nil, targetContainer, "the-first"); r.StatusCode != 200 {
		t.Fatalf("%d", r.StatusCode)
	}
	if in := c.asked[len(c.asked)-1]; in.Model != "the-first" || http.Header(in.Header).Get(targetContainer) != "the-first" {
		t.Errorf("it is asked for as %q, %v", in.Model, in.Header)
	}
	asked := len(c.asked)
	for _, headers := range [][]string{{targetContainer, "-x"}, {targetContainer, "a b"}, {targetContainer, strings.Repeat("x", 64)}, {targetContainer, "x", targetModel, "m"}} {
		if said := refused(t, post(t, d, apitest.Of(d.Root), invocations, nil, headers...), 400); said.Code != "ValidationError" {
			t.Errorf("%v: %+v", headers, said)
		}
	}
	if len(c.asked) != asked {
		t.Error("a name that is none was asked for")
	}
}

func TestAnInvocationWithoutAContainerIsToldWhichItIs(t *testing.T) {
	t.Parallel()
	d, _ := open(t, func(platform.Invocation) (*platform.Answer, error) {
		return nil, platform.Errorf(platform.Invalid, "e", "%w", platform.ErrNoTargetContainer)
	})
	r := post(t, d, apitest.Of(d.Root), invocations, nil)
	said := refused(t, r, 400)
	if want := fmt.Sprintf("Request %s is missing a target container hostname header.", r.Header.Get("X-Amzn-RequestId")); said.Code != "ValidationError" || said.Message != want {
		t.Errorf("%+v, want %s", said, want)
	}
}

func TestAnErrorIsOfTheContainerThatItCameFrom(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status  int
		refused string
		want    string
		code    int
	}{
		{422, "", `Received client error (422) from second with message "said so".`, 422},
		{502, platform.RefusedBroken, `Received server error (0) from second with message "said so".`, 0},
		{504, platform.RefusedLate, `Received server error (0) from second with message "said so".`, 0},
	} {
		headers := []string{platform.ContainerHeader, "second"}
		if c.refused != "" {
			headers = append(headers, platform.RefusedHeader, c.refused)
		}
		d, _ := open(t, func(platform.Invocation) (*platform.Answer, error) {
			return answers(c.status, strings.NewReader("said so"), headers...), nil
		})
		said := refused(t, post(t, d, apitest.Of(d.Root), invocations, nil), http.StatusFailedDependency)
		if said.Code != "ModelError" || !strings.HasPrefix(said.Message, c.want) || said.OriginalStatusCode != c.code || said.OriginalMessage != "said so" {
			t.Errorf("%d %s: %+v", c.status, c.refused, said)
		}
	}
}
