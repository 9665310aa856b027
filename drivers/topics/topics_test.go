package topics_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stint-ml/stint/drivers/topics"
	"github.com/stint-ml/stint/platform"
)

var note = platform.Notification{
	ID: "an-id", Topic: "arn:aws:sns:eu-west-1:123456789012:done", Message: `{"so": "it is"}`, At: time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.UTC),
}

// table writes the addresses of topics down.
func table(t *testing.T, text string) *topics.Webhooks {
	t.Helper()
	file := filepath.Join(t.TempDir(), "topics.json")
	if text != "" {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return topics.Open(file)
}

func TestANotificationIsPostedAsSNSDoes(t *testing.T) {
	t.Parallel()
	status := http.StatusOK
	var got map[string]string
	var header http.Header
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, header = nil, r.Header
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(web.Close)
	for _, key := range []string{string(note.Topic), "done"} {
		w := table(t, `{"`+key+`": "`+web.URL+`/there"}`)
		if err := w.Publish(t.Context(), note); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			"Type": "Notification", "MessageId": "an-id", "TopicArn": string(note.Topic), "Message": note.Message, "Timestamp": "2026-01-02T03:04:05.006Z",
		}
		for name, v := range want {
			if got[name] != v || len(got) != len(want) {
				t.Errorf("the subscriber gets %v", got)
			}
		}
		if header.Get("X-Amz-Sns-Message-Type") != "Notification" || header.Get("X-Amz-Sns-Topic-Arn") != string(note.Topic) || header.Get("X-Amz-Sns-Message-Id") != "an-id" {
			t.Errorf("with %v", header)
		}
	}
	for _, status = range []int{302, 404, 500} {
		if err := table(t, `{"done": "`+web.URL+`"}`).Publish(t.Context(), note); !platform.Is(err, platform.Unavailable) {
			t.Errorf("%d is %v", status, err)
		}
	}
}

func TestTablesThatLeadNowhere(t *testing.T) {
	t.Parallel()
	for text, kind := range map[string]platform.ErrorKind{
		"": platform.NotFound, `{"other": "http://127.0.0.1:1"}`: platform.NotFound, "{": platform.Unavailable,
		`{"done": "nowhere"}`: platform.Unavailable, `{"done": "http://127.0.0.1:1"}`: platform.Unavailable,
	} {
		if err := table(t, text).Publish(t.Context(), note); !platform.Is(err, kind) {
			t.Errorf("%q is %v", text, err)
		}
	}
}
