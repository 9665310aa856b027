package records_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/decide/records"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// request is a job that processes one format on both sides.
func request(content string, d sagemaker.DataProcessing) *sagemaker.CreateTransformJobRequest {
	return &sagemaker.CreateTransformJobRequest{
		TransformInput:  &sagemaker.TransformInput{ContentType: &content, SplitType: new(sagemaker.SplitTypeLine)},
		TransformOutput: &sagemaker.TransformOutput{Accept: &content}, DataProcessing: &d,
	}
}

func TestWhatIsGivenAndWhatIsKept(t *testing.T) {
	t.Parallel()
	const csv, lines = "text/csv", "application/jsonlines; charset=utf-8"
	join := new(sagemaker.JoinSourceInput)
	for _, c := range []struct {
		content, in, out string
		join             *sagemaker.JoinSource
		record, answer   string
		given, kept      string // an error when it begins with "error: "
	}{
		{csv, "$[1:]", "", nil, `7,"a,b",c`, "0.5", `"a,b",c`, "0.5"},
		{csv, "$[0,2]", "$", join, "7,8,9", "0.5\n", "7,9", "7,8,9,0.5"},
		{csv, "$[:-1]", "$[0,-1]", join, "7,8,9", "0.5", "7,8", "7,0.5"},
		{csv, "$[-2:]", "$[0,3:]", join, "7,8,9", "x,y", "8,9", "7,x,y"},
		{csv, "", "$[0,5:]", join, "7,8,9", "x,y,z", "7,8,9", "7,z"},
		{csv, "$[3]", "", nil, "7,8,9", "", "error: InputFilter: index 3 is not within its 3 elements", ""},
		{csv, "$[*]", "$[5:]", nil, "7,8,9", "1,2", "7,8,9", "error: OutputFilter: a slice from 5 selects nothing of its 2 elements"},
		{csv, "$.name", "", nil, "7,8,9", "", `error: InputFilter: it has no member "name": it is a list`, ""},
		{lines, "$.features", "", nil, `{"id": 1.50, "features":[1, 2]}`, ` {"p": 1} `, "[1, 2]", `{"p": 1}`},
		{lines, "$['id','features']", "$['id','SageMakerOutput']", join, `{"id":1.50,"b":"x,}]","features":[1]}`, `[0.1]`, `{"id":1.50,"features":[1]}`, `{"id":1.50,"SageMakerOutput":[0.1]}`},
		{lines, "$.a.['b','c']", "$.SageMakerOutput.p", join, `{"a":{"b":1,"c":2,"d":3}}`, `{"p":9}`, `{"b":1,"c":2}`, "9"},
		{lines, "$.a.*", "$.a[0:2]", join, `{"a":[1,2,3]}`, `{}`, "[1,2,3]", "[1,2]"},
		{lines, "$.a[*].b", "", join, `{"a":[{"b":1},{"b":"\"]"}]}`, `{}`, `[1,"\"]"]`, `{"a":[{"b":1},{"b":"\"]"}],"SageMakerOutput":{}}`},
		{lines, "", "", join, `[1,2]`, "3", "[1,2]", `{"SageMakerInput":[1,2],"SageMakerOutput":3}`},
		{lines, "", "", join, `{}`, "3", "{}", `{"SageMakerOutput":3}`},
		{lines, "", "", join, `{"SageMakerOutput":1,"a":2}`, "3", `{"SageMakerOutput":1,"a":2}`, `{"a":2,"SageMakerOutput":3}`},
		{lines, "", "", join, `{"a":1}`, "no json", `{"a":1}`, `error: the model's answer "no json" is not valid JSON`},
		{lines, "$.b", "", nil, `{"a":1}`, "", `error: InputFilter: it has no member "b"`, ""},
		{lines, "$.a", "", nil, `{"a":`, "", `error: InputFilter: "{\"a\":" is not valid JSON`, ""},
	} {
		p, err := records.New(request(c.content, sagemaker.DataProcessing{InputFilter: &c.in, OutputFilter: &c.out, JoinSource: c.join}))
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		given, err := p.Give(nil, []byte(c.record))
		check(t, "given of "+c.record, given, err, c.given)
		if strings.HasPrefix(c.given, "error") {
			continue
		}
		kept, err := p.Keep(nil, []byte(c.record), []byte(c.answer))
		check(t, "kept of "+c.record, kept, err, c.kept)
	}
}

func check(t *testing.T, what string, got []byte, err error, want string) {
	t.Helper()
	text := string(got)
	if err != nil {
		text = "error: " + err.Error()
	}
	if text != want {
		t.Errorf("%s is %s, want %s", what, text, want)
	}
}

func TestPathsThatAreNoneAreRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"a", "$x", "$.", "$..a", "$[", "$[]", "$['a]", "$[a]", "$[1,'a']", "$[*,1]", "$[1 2]", "$[?(@.a)]", "$.a b", "$[1:2:3]"} {
		if _, err := records.ParsePath(text); err == nil {
			t.Errorf("%s was taken", text)
		}
	}
}

func TestWhatCannotBeProcessedIsRefused(t *testing.T) {
	t.Parallel()
	join := sagemaker.DataProcessing{JoinSource: new(sagemaker.JoinSourceInput)}
	for name, change := range map[string]func(*sagemaker.CreateTransformJobRequest){
		"ContentType":   func(r *sagemaker.CreateTransformJobRequest) { r.TransformInput.ContentType = new("image/png") },
		"Accept":        func(r *sagemaker.CreateTransformJobRequest) { r.TransformOutput.Accept = new("image/png") },
		"of the format": func(r *sagemaker.CreateTransformJobRequest) { r.TransformOutput.Accept = new("application/json") },
		"SplitType None or Line": func(r *sagemaker.CreateTransformJobRequest) {
			r.TransformInput.SplitType = new(sagemaker.SplitTypeTFRecord)
		},
		"a MaxPayloadInMB above 0":      func(r *sagemaker.CreateTransformJobRequest) { r.MaxPayloadInMB = new(int32(0)) },
		"DataProcessing.InputFilter \"": func(r *sagemaker.CreateTransformJobRequest) { r.DataProcessing.InputFilter = new("a") },
	} {
		r := request("text/csv", join)
		change(r)
		if _, err := records.New(r); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if p, err := records.New(request("image/png", sagemaker.DataProcessing{InputFilter: new("$")})); p != nil || err != nil {
		t.Errorf("what changes nothing is %v, %v", p, err)
	}
}

func TestAnswersBelongToTheirRecords(t *testing.T) {
	t.Parallel()
	p, err := records.New(request("application/jsonlines", sagemaker.DataProcessing{JoinSource: new(sagemaker.JoinSourceInput)}))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		answer string
		n      int
		want   string
	}{
		{"1\n2\r\n\n3", 3, `["1" "2" "3"]`}, {"[1, [2,3] ,4]", 3, `["1" "[2,3]" "4"]`}, {"[1,2]", 1, `["[1,2]"]`},
		{"1\n2", 3, "error"}, {"[1,2]", 3, "error"}, {"", 2, "error"},
	} {
		answers, err := p.Answers([]byte(c.answer), c.n)
		got := fmt.Sprintf("%q", answers)
		if err != nil {
			got = "error"
		}
		if got != c.want {
			t.Errorf("%q for %d records is %s, want %s", c.answer, c.n, got, c.want)
		}
	}
}

// What is joined is, as values, the record with one member more, whatever it holds.
func TestJoiningAddsOneMember(t *testing.T) {
	t.Parallel()
	p, err := records.New(request("application/jsonlines", sagemaker.DataProcessing{JoinSource: new(sagemaker.JoinSourceInput)}))
	if err != nil {
		t.Fatal(err)
	}
	value := rapid.Custom(func(t *rapid.T) any { return anyValue(t, 3) })
	rapid.Check(t, func(t *rapid.T) {
		record, answer := value.Draw(t, "record"), value.Draw(t, "answer")
		want := map[string]any{"SageMakerInput": record}
		if object, ok := record.(map[string]any); ok {
			want = object
		}
		rawRecord, rawAnswer := marshal(t, record), marshal(t, answer)
		kept, err := p.Keep(nil, rawRecord, rawAnswer)
		if err != nil {
			t.Fatal(err)
		}
		want["SageMakerOutput"] = answer
		var got any
		if err := json.Unmarshal(kept, &got); err != nil {
			t.Fatalf("%s: %v", kept, err)
		}
		if string(marshal(t, got)) != string(marshal(t, want)) {
			t.Fatalf("joined %s, want %s", kept, marshal(t, want))
		}
	})
}

func anyValue(t *rapid.T, depth int) any {
	kinds := 4
	if depth == 0 {
		kinds = 2
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return rapid.String().Draw(t, "text")
	case 1:
		return float64(rapid.Int32().Draw(t, "number"))
	case 2:
		list := []any{}
		for range rapid.IntRange(0, 3).Draw(t, "length") {
			list = append(list, anyValue(t, depth-1))
		}
		return list
	default:
		object := map[string]any{}
		for range rapid.IntRange(0, 3).Draw(t, "length") {
			object[rapid.String().Draw(t, "name")] = anyValue(t, depth-1)
		}
		return object
	}
}

func marshal(t *rapid.T, v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
