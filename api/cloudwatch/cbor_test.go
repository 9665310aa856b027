package cloudwatch_test

import (
	"bytes"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	smithy "github.com/aws/smithy-go/encoding/cbor"

	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/wire/sigv4"
)

// spoken is an answer in CBOR; body is nil when there is none.
type spoken struct {
	status int
	header http.Header
	body   smithy.Map
}

// speak calls an operation as the AWS SDK for Go does.
func speak(t *testing.T, d *apitest.Door, operation string, body []byte, sign bool) spoken {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.URL+"/service/GraniteServiceVersion20100801/operation/"+operation, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Smithy-Protocol", "rpc-v2-cbor")
	r.Header.Set("Content-Type", "application/cbor")
	if sign {
		if err := sigv4.Sign(r, apitest.Of(d.Root), apitest.Site.Region, "monitoring", d.Clock.Now()); err != nil {
			t.Fatal(err)
		}
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil || res.Header.Get("Smithy-Protocol") != "rpc-v2-cbor" {
		t.Fatalf("%s %v %s: %v", res.Status, res.Header, answer, err)
	}
	if len(answer) == 0 {
		return spoken{status: res.StatusCode, header: res.Header}
	}
	v, err := smithy.Decode(answer)
	if err != nil {
		t.Fatalf("%s %x: %v", res.Status, answer, err)
	}
	return spoken{res.StatusCode, res.Header, v.(smithy.Map)}
}

func TestCBOR(t *testing.T) {
	t.Parallel()
	d := open(t)
	at := func(seconds float64) smithy.Value { return &smithy.Tag{ID: 1, Value: smithy.Float64(seconds)} }
	now := float64(d.Clock.Now().Unix())
	got := speak(t, d, "PutMetricData", smithy.Encode(smithy.Map{
		"Namespace":  smithy.String("n"),
		"MetricData": smithy.List{smithy.Map{"MetricName": smithy.String("loss"), "Value": smithy.Uint(3), "Timestamp": at(now)}},
	}), true)
	if got.status != 200 || got.body != nil || got.header.Get("Content-Type") != "" {
		t.Errorf("put: %+v", got)
	}
	got = speak(t, d, "GetMetricStatistics", smithy.Encode(smithy.Map{
		"Namespace": smithy.String("n"), "MetricName": smithy.String("loss"), "StartTime": at(now - 60), "EndTime": at(now + 60),
		"Period": smithy.Uint(60), "Statistics": smithy.List{smithy.String("Sum")},
	}), true)
	point := smithy.Map{"Timestamp": at(now), "Sum": smithy.Float64(3), "Unit": smithy.String("None")}
	if want := (smithy.Map{"Label": smithy.String("loss"), "Datapoints": smithy.List{point}}); got.status != 200 || !reflect.DeepEqual(got.body, want) {
		t.Errorf("statistics: %d %#v", got.status, got.body)
	}
	if got = speak(t, d, "ListMetrics", nil, true); got.status != 200 || len(got.body["Metrics"].(smithy.List)) != 1 {
		t.Errorf("list: %d %#v", got.status, got.body)
	}
}

// Errors have their names in the body, and in a header their codes of old.
func TestErrorsInCBOR(t *testing.T) {
	t.Parallel()
	d := open(t)
	for what, c := range map[string]struct {
		operation, body     string
		signed              bool
		status              int
		name, compat, words string
	}{
		"a bad parameter":   {"ListMetrics", string(smithy.Encode(smithy.Map{"NextToken": smithy.String("?")})), true, 400, "InvalidParameterValueException", "InvalidParameterValue;Sender", "NextToken"},
		"missing":           {"PutMetricData", string(smithy.Encode(smithy.Map{"Namespace": smithy.String("n")})), true, 400, "MissingRequiredParameterException", "MissingParameter;Sender", "MetricData"},
		"a constraint":      {"PutMetricData", "\xa0", true, 400, "ValidationError", "ValidationError;Sender", "namespace"},
		"another type":      {"ListMetrics", string(smithy.Encode(smithy.Map{"NextToken": smithy.Uint(1)})), true, 400, "SerializationException", "SerializationException;Sender", "NUMBER_VALUE"},
		"no CBOR":           {"ListMetrics", "{}", true, 400, "SerializationException", "SerializationException;Sender", "not valid CBOR"},
		"no such operation": {"PutDashboard", "\xa0", true, 400, "UnsupportedOperation", "UnsupportedOperation;Sender", "PutDashboard"},
		"nobody":            {"ListMetrics", "\xa0", false, 403, "MissingAuthenticationToken", "MissingAuthenticationToken;Sender", "missing"},
	} {
		got := speak(t, d, c.operation, []byte(c.body), c.signed)
		name, _ := got.body["__type"].(smithy.String)
		message, _ := got.body["message"].(smithy.String)
		if got.status != c.status || string(name) != c.name || got.header.Get("x-amzn-query-error") != c.compat || !strings.Contains(string(message), c.words) {
			t.Errorf("%s: %+v", what, got)
		}
	}
}
