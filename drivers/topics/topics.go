// Package topics is platform.Topics as webhooks: a file maps topics to addresses, and a notification is posted to its topic's as Amazon SNS
// posts to a subscriber over HTTP, but for the signature.
//
// The format is "HTTP/HTTPS notification JSON format" of the SNS developer guide. Nothing here is tried twice.
package topics

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/stint-ml/stint/platform"
)

const (
	answerWithin = 15 * time.Second // SNS's
	maxAnswer    = 64 << 10         // bytes of an answer that are read, so that its connection can be used again
)

// Webhooks is a platform.Topics.
type Webhooks struct {
	file   string
	client *http.Client
}

var _ platform.Topics = (*Webhooks)(nil)

// Open makes the driver. The file is read again for every notification, so that a change of it holds at once; without it nobody has
// subscribed to anything. It is a JSON object of addresses by the ARN or the plain name of their topic.
func Open(file string) *Webhooks {
	// A subscriber's redirect is not followed: the message is for the address that the user has named.
	noRedirect := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Webhooks{file: file, client: &http.Client{Timeout: answerWithin, CheckRedirect: noRedirect}}
}

// message is what SNS posts.
type message struct {
	Type      string
	MessageID string `json:"MessageId"`
	TopicARN  string `json:"TopicArn"`
	Message   string
	Timestamp string
}

// Publish posts a notification. A subscriber has taken it when it answers with a status of 2xx.
func (w *Webhooks) Publish(ctx context.Context, n platform.Notification) error {
	address, err := w.address(n.Topic)
	if err != nil {
		return err
	}
	body, err := json.Marshal(message{"Notification", n.ID, string(n.Topic), n.Message, n.At.UTC().Format("2006-01-02T15:04:05.000Z")})
	if err != nil {
		return platform.Errorf(platform.Internal, string(n.Topic), "notification: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return platform.Errorf(platform.Invalid, string(n.Topic), "address %q of topic %s: %w", address, n.Topic, err)
	}
	for name, value := range map[string]string{
		"Content-Type": "text/plain; charset=UTF-8", "User-Agent": "Amazon Simple Notification Service Agent",
		"X-Amz-Sns-Message-Type": "Notification", "X-Amz-Sns-Message-Id": n.ID, "X-Amz-Sns-Topic-Arn": string(n.Topic),
	} {
		r.Header.Set(name, value)
	}
	answer, err := w.client.Do(r)
	if err != nil {
		return platform.Errorf(platform.Unavailable, string(n.Topic), "the subscriber of topic %s cannot be reached: %w", n.Topic, err)
	}
	defer answer.Body.Close()
	_, _ = io.CopyN(io.Discard, answer.Body, maxAnswer) // the status is all there is to know
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		return platform.Errorf(platform.Unavailable, string(n.Topic), "the subscriber of topic %s answers %s", n.Topic, answer.Status)
	}
	return nil
}

// address finds who has subscribed to a topic.
func (w *Webhooks) address(topic platform.ARN) (string, error) {
	text, err := os.ReadFile(w.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", platform.Errorf(platform.Unavailable, w.file, "read the addresses of topics: %w", err)
	}
	table := map[string]string{}
	if err == nil {
		if err := json.Unmarshal(text, &table); err != nil {
			return "", platform.Errorf(platform.Unavailable, w.file, "%s must be a JSON object of addresses by topic: %w", w.file, err)
		}
	}
	_, _, _, _, name, _ := topic.Split()
	for _, key := range []string{string(topic), name} {
		address, there := table[key]
		if !there {
			continue
		}
		if u, err := url.Parse(address); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return "", platform.Errorf(platform.Unavailable, w.file, "%s: the address %q of topic %s is not a URL", w.file, address, key)
		}
		return address, nil
	}
	return "", platform.Errorf(platform.NotFound, string(topic), "%s has no address for topic %s", w.file, topic)
}
