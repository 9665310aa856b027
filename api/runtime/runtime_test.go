package runtime_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/api/runtime"
	"github.com/stint-ml/stint/drivers/store/memory"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/wire/sigv4"
)

// plane is a data plane that answers as its endpoint's name says.
type plane struct{}

func (plane) Invoke(_ context.Context, in platform.Invocation) (*platform.Answer, error) {
	answer := func(status int, text string) (*platform.Answer, error) {
		return &platform.Answer{
			Variant: "v", Status: status, Header: http.Header{"Content-Type": {"text/x"}, "X-Own": {"secret"}}, Body: io.NopCloser(strings.NewReader(text)),
		}, nil
	}
	switch in.Endpoint {
	case "echo":
		return answer(200, strings.Join(in.Header["Content-Type"], "")+" "+string(in.Body))
	case "broken":
		return answer(503, "oh \xff no")
	case "picky":
		return answer(415, "no")
	case "busy":
		return nil, platform.Errorf(platform.Unavailable, in.Endpoint, "%w", platform.ErrBusy)
	case "away":
		return nil, platform.Errorf(platform.Unavailable, in.Endpoint, "no container answers")
	case "late":
		return nil, platform.ErrTooLate
	case "dies":
		return nil, errors.New("EOF")
	case "variants":
		return nil, platform.Errorf(platform.Invalid, in.Variant, "Variant %s not found", in.Variant)
	}
	return nil, platform.Errorf(platform.NotFound, in.Endpoint, "no route")
}

// invoke sends an invocation and gives the status, the error's code and the body.
func invoke(t *testing.T, door *apitest.Door, name string) (status int, header http.Header, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, door.URL+"/endpoints/"+name+"/invocations", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "text/plain")
	if err := sigv4.Sign(r, apitest.Of(door.Root), apitest.Site.Region, "sagemaker", door.Clock.Now()); err != nil {
		t.Fatal(err)
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, a.Header, string(text)
}

func TestEveryAnswerHasAWSsWords(t *testing.T) {
	t.Parallel()
	store := memory.New()
	door := apitest.Open(t, store, func(*apitest.Door) []*api.Service {
		return []*api.Service{runtime.New(runtime.Config{Invoker: plane{}, Store: store, LogGroup: func(name string) string { return "/logs/" + name }})}
	})
	for name, state := range map[string]platform.EndpointState{
		"serves": platform.EndpointInService, "updates": platform.EndpointUpdating, "comes": platform.EndpointCreating, "failed": platform.EndpointFailed,
	} {
		rec := platform.Record{Key: platform.Key{Kind: platform.KindEndpoint, Name: name}, State: string(state), Doc: []byte("{}")}
		if err := store.Commit(t.Context(), platform.Tx{Puts: []platform.Put{{Record: rec}}}); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]struct {
		status     int
		code, word string
	}{
		"echo":     {200, "", "text/plain hello"},
		"broken":   {424, "ModelError", `"OriginalStatusCode":503`},
		"picky":    {424, "ModelError", "Received client error (415) from primary"},
		"busy":     {503, "ServiceUnavailable", ""},
		"away":     {503, "ServiceUnavailable", ""},
		"late":     {424, "ModelError", "timed out"},
		"dies":     {424, "ModelError", "EOF"},
		"variants": {400, "ValidationError", "not found"},
		"nobody":   {400, "ValidationError", "Endpoint nobody of account 123456789012 not found."},
		"comes":    {400, "ValidationError", "not found"},
		"failed":   {400, "ValidationError", "not found"},
		"serves":   {503, "ServiceUnavailable", "try again"},
		"updates":  {503, "ServiceUnavailable", "try again"},
	} {
		status, header, body := invoke(t, door, name)
		if status != want.status || header.Get("x-amzn-ErrorType") != want.code || !strings.Contains(body, want.word) {
			t.Errorf("%s: %d %s %s", name, status, header.Get("x-amzn-ErrorType"), body)
		}
		if (status == 503) != (header.Get("Retry-After") != "") {
			t.Errorf("%s: %d with Retry-After %q", name, status, header.Get("Retry-After"))
		}
		if header.Get("X-Own") != "" {
			t.Errorf("%s: a header of the container's own got out", name)
		}
	}
}
