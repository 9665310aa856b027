package async

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"slices"
	"time"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// maxIncluded bounds an answer that is told in a notification; of a longer one only the place is.
const maxIncluded = 128 << 10

// stamp is how AWS writes instants in such messages.
const stamp = "2006-01-02T15:04:05.000Z"

// message is what a topic is told of an invocation, as "Check prediction results" of the developer guide has it.
type message struct {
	AWSRegion          string              `json:"awsRegion"`
	EventTime          string              `json:"eventTime"`
	ReceivedTime       string              `json:"receivedTime"`
	InvocationStatus   string              `json:"invocationStatus"`
	FailureReason      string              `json:"failureReason,omitempty"`
	RequestParameters  requestParameters   `json:"requestParameters"`
	ResponseParameters *responseParameters `json:"responseParameters,omitempty"`
	ResponseBody       *responseBody       `json:"responseBody,omitempty"`
	InferenceID        string              `json:"inferenceId"`
	EventVersion       string              `json:"eventVersion"`
	EventSource        string              `json:"eventSource"`
	EventName          string              `json:"eventName"`
}

type requestParameters struct {
	Accept           string       `json:"accept,omitempty"`
	ContentType      string       `json:"contentType,omitempty"`
	CustomAttributes string       `json:"customAttributes,omitempty"`
	EndpointName     string       `json:"endpointName"`
	InputLocation    platform.URI `json:"inputLocation,omitempty"`
}

type responseParameters struct {
	ContentType    string       `json:"contentType,omitempty"`
	OutputLocation platform.URI `json:"outputLocation"`
}

type responseBody struct {
	Message  string `json:"message,omitempty"`
	Content  string `json:"content"`
	Encoding string `json:"encoding"`
}

// notification is what is to be told of an outcome, nil when nobody wants to know.
func (j *job) notification(out *outcome) *platform.Notification {
	topics := j.view.output.NotificationConfig
	if topics == nil {
		return nil
	}
	topic, kind, status := topics.SuccessTopic, sagemaker.AsyncNotificationTopicTypesSuccessNotificationTopic, "Completed"
	if out.reason != "" {
		topic, kind, status = topics.ErrorTopic, sagemaker.AsyncNotificationTopicTypesErrorNotificationTopic, "Failed"
	}
	if topic == nil || *topic == "" {
		return nil
	}
	now := j.Clock.Now()
	m := message{
		AWSRegion: j.Site.Region, EventTime: at(now), ReceivedTime: at(j.in.Arrived), InvocationStatus: status, FailureReason: out.reason,
		RequestParameters: requestParameters{
			Accept: j.header("Accept"), ContentType: j.header("Content-Type"), CustomAttributes: j.header("X-Amzn-Sagemaker-Custom-Attributes"),
			EndpointName: j.in.Endpoint, InputLocation: j.in.Input,
		},
		InferenceID: j.in.InferenceID, EventVersion: "1.0", EventSource: "aws:sagemaker", EventName: "InferenceResult",
	}
	switch {
	case out.reason == "":
		m.ResponseParameters = &responseParameters{out.answer.contentType, j.in.Output}
	case j.in.Failure != "":
		m.ResponseParameters = &responseParameters{OutputLocation: j.in.Failure}
	}
	if slices.Contains(topics.IncludeInferenceResponseIn, kind) {
		m.ResponseBody = included(out)
	}
	text, err := json.Marshal(m)
	if err != nil {
		j.Log.Error("a notification cannot be written", "endpoint", j.line.name, "error", err) // strings alone: it never happens
		return nil
	}
	return &platform.Notification{
		ID: j.in.ID, Topic: platform.ARN(*topic), Message: string(text), At: now, About: j.Site.ARN("sagemaker", "endpoint/"+j.in.Endpoint),
	}
}

func at(t time.Time) string { return t.UTC().Format(stamp) }

func (j *job) header(name string) string {
	if v := j.in.Header[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// included is the answer itself, nil when it is too long.
func included(out *outcome) *responseBody {
	if out.answer == nil || out.answer.size > maxIncluded {
		return nil
	}
	content, err := io.ReadAll(out.answer.reader())
	if err != nil {
		return nil // its place is told
	}
	return &responseBody{Message: out.reason, Content: base64.StdEncoding.EncodeToString(content), Encoding: "BASE64"}
}
