package client_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/api/sagemaker"
	"github.com/stint-ml/stint/cmd/stint/client"
	storage "github.com/stint-ml/stint/drivers/store/memory"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/platform/catalog"
)

func at(endpoint string) *client.Client {
	return client.New(client.Config{Endpoint: endpoint, S3: endpoint, Site: platform.Site{Partition: "aws", Region: "eu-west-1", Account: "123456789012"}, Now: time.Now})
}

// TestSignedForTheFrontDoor: the real front door takes the calls, and refuses them with a wrong secret.
func TestSignedForTheFrontDoor(t *testing.T) {
	t.Parallel()
	store := storage.New()
	door := apitest.Open(t, store, func(*apitest.Door) []*api.Service {
		return []*api.Service{sagemaker.New(sagemaker.Config{Store: store, Catalog: catalog.BuiltIn("aws")})}
	})
	config := client.Config{Endpoint: door.URL, Site: apitest.Site, Credentials: apitest.Of(door.Root), Now: door.Clock.Now}
	var refused *client.APIError
	if _, err := client.New(config).DescribeTrainingJob(t.Context(), "none"); !errors.As(err, &refused) ||
		refused.Code != "ResourceNotFound" || refused.Status != 400 || refused.Operation != "DescribeTrainingJob" {
		t.Errorf("%+v", err)
	}
	if err := client.New(config).Healthy(t.Context()); err != nil {
		t.Error(err)
	}
	config.Credentials.SecretAccessKey += "x"
	if _, err := client.New(config).DescribeTrainingJob(t.Context(), "none"); !errors.As(err, &refused) || refused.Code == "ResourceNotFound" {
		t.Errorf("%+v", err)
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status  int
		body    string
		code    string
		message string
	}{
		"an error of the API": {400, `{"__type":"ResourceInUse","message":"taken"}`, "ResourceInUse", "taken"},
		"not JSON":            {502, "<html>bad gateway</html>", "", "the server answered DescribeTrainingJob with HTTP status 502: <html>bad gateway</html>"},
		"no type":             {500, "{}", "", "the server answered DescribeTrainingJob with HTTP status 500: {}"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(tt.status)
			_, _ = io.WriteString(w, tt.body)
		}))
		_, err := at(server.URL).DescribeTrainingJob(t.Context(), "x")
		var refused *client.APIError
		if !errors.As(err, &refused) || refused.Code != tt.code || refused.Message != tt.message || refused.Status != tt.status {
			t.Errorf("%s: %+v", name, err)
		}
		server.Close()
	}
	garbled := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{") }))
	defer garbled.Close()
	if _, err := at(garbled.URL).DescribeTrainingJob(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "is not understood") {
		t.Errorf("%v", err)
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	cutting := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "{")
		panic(http.ErrAbortHandler)
	}))
	defer cutting.Close()
	for _, endpoint := range []string{"http://127.0.0.1:1", cutting.URL} {
		var away *client.UnreachableError
		if _, err := at(endpoint).DescribeTrainingJob(t.Context(), "x"); !errors.As(err, &away) || away.Endpoint != endpoint {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
	sick := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }))
	defer sick.Close()
	var away *client.UnreachableError
	if err := at(sick.URL).Healthy(t.Context()); !errors.As(err, &away) {
		t.Errorf("%v", err)
	}
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := at("http://127.0.0.1:1").DescribeTrainingJob(ctx, "x"); err != why { //nolint:errorlint // the very cause
		t.Errorf("a caller that gives up: %v", err)
	}
}

func TestEnsureBucket(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status     int
		body, want string
	}{
		"made":         {200, "", ""},
		"there":        {409, "<Error><Code>BucketAlreadyOwnedByYou</Code><Message>yours</Message></Error>", ""},
		"another's":    {409, "<Error><Code>BucketAlreadyExists</Code><Message>taken</Message></Error>", "the bucket b cannot be made: taken"},
		"no S3 at all": {404, "page not found", "the bucket b cannot be made: the server answered with HTTP status 404: page not found"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if r.Method != http.MethodPut || r.URL.Path != "/b" || !strings.Contains(string(body), "<LocationConstraint>eu-west-1<") {
				t.Errorf("%s %s %s", r.Method, r.URL.Path, body)
			}
			w.WriteHeader(tt.status)
			_, _ = io.WriteString(w, tt.body)
		}))
		err := at(server.URL).EnsureBucket(t.Context(), "b")
		if (tt.want == "") != (err == nil) || err != nil && err.Error() != tt.want {
			t.Errorf("%s: %v", name, err)
		}
		server.Close()
	}
}
