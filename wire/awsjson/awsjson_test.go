package awsjson_test

import (
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/stint-ml/stint/wire"
	"github.com/stint-ml/stint/wire/awsjson"
)

func call(target, contentType string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	if target != "" {
		r.Header.Set("X-Amz-Target", target)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

func TestTarget(t *testing.T) {
	t.Parallel()
	for target, want := range map[string][2]string{
		"SageMaker.CreateTrainingJob": {"SageMaker", "CreateTrainingJob"},
		"Logs_20140328.PutLogEvents":  {"Logs_20140328", "PutLogEvents"},
		"com.example.v1.Do":           {"com.example.v1", "Do"},
		"":                            {},
		"SageMaker":                   {},
		"SageMaker.":                  {},
		".CreateTrainingJob":          {},
	} {
		prefix, operation, ok := awsjson.Target(call(target, ""))
		if got := [2]string{prefix, operation}; got != want || ok != (want[1] != "") {
			t.Errorf("%q: %q, %v", target, got, ok)
		}
	}
	twice := call("A.B", "")
	twice.Header.Add("X-Amz-Target", "C.D")
	if _, _, ok := awsjson.Target(twice); ok {
		t.Error("two targets were accepted")
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	const json10, json11 = "application/x-amz-json-1.0", "application/x-amz-json-1.1"
	for name, c := range map[string]struct {
		asked, answered, body string
		out                   any
	}{
		"1.0, nothing escaped": {json10, json10, `{"Url":"s3://b/<k>?a&b"}`, map[string]string{"Url": "s3://b/<k>?a&b"}},
		"1.1":                  {json11, json11, `{"A":1}`, struct{ A int }{1}},
		"1.1 when not said":    {"", json11, `{}`, struct{}{}},
		"no output":            {json11, json11, ``, nil},
	} {
		answer := httptest.NewRecorder()
		if err := awsjson.Write(answer, call("S.O", c.asked), c.out); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if answer.Code != 200 || answer.Body.String() != c.body || answer.Header().Get("Content-Type") != c.answered || answer.Header().Get("Content-Length") != strconv.Itoa(len(c.body)) {
			t.Errorf("%s: %d %q %v", name, answer.Code, answer.Body, answer.Header())
		}
	}
}

func TestWriteLeavesNothingWhenItFails(t *testing.T) {
	t.Parallel()
	answer := httptest.NewRecorder()
	if err := awsjson.Write(answer, call("S.O", ""), map[string]float64{"x": math.NaN()}); err == nil || answer.Body.Len() != 0 || len(answer.Header()) != 0 {
		t.Errorf("what cannot be encoded left %q, %v, %v", answer.Body, answer.Header(), err)
	}
}

func TestWriteError(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fields map[string]any
		want   string
	}{
		"plain":      {nil, `{"__type":"ResourceInUse","message":"<x> & y"}`},
		"fields":     {map[string]any{"ResourceName": "x", "__type": "never"}, `{"ResourceName":"x","__type":"ResourceInUse","message":"<x> & y"}`},
		"unwritable": {map[string]any{"Bad": make(chan int)}, `{"__type":"ResourceInUse","message":"<x> & y"}`},
	} {
		answer := httptest.NewRecorder()
		awsjson.WriteError(answer, call("S.O", "application/x-amz-json-1.1"), &wire.Error{Status: 400, Code: "ResourceInUse", Message: "<x> & y", Fields: c.fields})
		if got := answer.Body.String(); got != c.want || answer.Code != 400 || answer.Header().Get("x-amzn-ErrorType") != "ResourceInUse" || !json.Valid([]byte(got)) {
			t.Errorf("%s: %d %s %v", name, answer.Code, got, answer.Header())
		}
	}
}

// Answers must not share memory through the pool of buffers.
func TestAnswersDoNotMix(t *testing.T) {
	t.Parallel()
	done := make(chan string)
	for i := range 8 {
		go func() {
			text := strings.Repeat(string(rune('a'+i)), 1000*(i+1))
			for range 200 {
				answer := httptest.NewRecorder()
				if err := awsjson.Write(answer, call("S.O", ""), []string{text}); err != nil || answer.Body.String() != `["`+text+`"]` {
					done <- "an answer was damaged"
					return
				}
			}
			done <- ""
		}()
	}
	for range 8 {
		if fault := <-done; fault != "" {
			t.Error(fault)
		}
	}
}
