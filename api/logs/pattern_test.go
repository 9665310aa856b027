package logs

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/platform"
)

// The examples are those of "Filter pattern syntax" in the user guide, and what they leave open.
func TestPatterns(t *testing.T) {
	t.Parallel()
	const (
		e400 = "[ERROR 400] BAD REQUEST"
		e401 = "[ERROR 401] UNAUTHORIZED REQUEST"
		e419 = "[ERROR 419] MISSING ARGUMENTS"
		e500 = `[ERROR 500] INTERNAL "SERVER" ERROR`
		info = "info"
		doc  = `{"eventType":"UpdateTrail","sourceIPAddress":"111.111.111.111","arrayKey":["value","another value"],` +
			`"objectList":[{"name":"a","id":1},{"name":"b","id":2}],"SomeObject":null,"cluster.name":"c","ThisFlag":true,` +
			`"user":{"id":1,"email":"John.Stiles@example.com"},"big":9007199254740993,"rate":0.001,"status":404,"text":"404","coordinates":[[0,1,2],[4,5,6]]}`
	)
	for _, c := range []struct {
		pattern string
		takes   []string
		leaves  []string
	}{
		{"", []string{e400, info, doc}, nil},
		{`" "`, []string{e400, info}, nil},
		{"ERROR", []string{e400, e419}, []string{info}},
		{"error", nil, []string{e400}},
		{"ERROR ARGUMENTS", []string{e419}, []string{e400, info}},
		{"?INTERNAL ?ARGUMENTS", []string{e419, e500}, []string{e400, info}},
		{"ERROR -ARGUMENTS", []string{e400, e401}, []string{e419, info}},
		{"-ERROR", []string{info}, []string{e400}},
		{"ERROR ?ARGUMENTS", []string{e400, e419}, []string{info}},
		{`"BAD REQUEST"`, []string{e400}, []string{e401}},
		{`-"BAD REQUEST" "]"`, []string{e401}, []string{e400}},
		{`"\"SERVER\" E"`, []string{e500}, []string{e400}},
		{`{ $.eventType = "UpdateTrail" }`, []string{doc}, []string{`{"eventType":"x"}`, `{}`, e400, `{"eventType":"UpdateTrail"} and more`}},
		{`{$.eventType=UpdateTrail}`, []string{doc}, nil},
		{`{ $.eventType = "Update*" && $.eventType = *ail }`, []string{doc}, nil},
		{`{ $.eventType = "*ail*x" }`, nil, []string{doc}},
		{`{ $.sourceIPAddress != 123.123.* }`, []string{doc}, []string{`{"sourceIPAddress":"123.123.1.1"}`, `{}`}},
		{`{ $.arrayKey[0] = "value" }`, []string{doc}, nil},
		{`{ $.arrayKey[2] = "value" }`, nil, []string{doc}},
		{`{ $.arrayKey = "value" }`, nil, []string{doc}},
		{`{ $.objectList[1].id = 2 }`, []string{doc}, []string{`{"objectList":[{"id":2}]}`, `{"objectList":{"id":2}}`}},
		{`{ $.['cluster.name'] = "c" }`, []string{doc}, nil},
		{`{ $["cluster.name"] = c }`, []string{doc}, nil},
		{`{ $.SomeObject IS NULL }`, []string{doc}, []string{`{}`, `{"SomeObject":1}`, `{"SomeObject":{}}`}},
		{`{ $.ThisFlag is true }`, []string{doc}, []string{`{"ThisFlag":false}`, `{"ThisFlag":"true"}`}},
		{`{ $.SomeOtherObject NOT EXISTS }`, []string{doc}, []string{`{"SomeOtherObject":null}`}},
		{`{ $.status = 404 && $.status = 4* && $.status >= 4.04e2 && $.status < 405 }`, []string{doc}, nil},
		{`{ $.status = "404" }`, nil, []string{doc}},
		{`{ $.text = "404" && $.text = 404 }`, []string{doc}, nil},
		{`{ $.text > 1 }`, nil, []string{doc}},
		{`{ $.rate = 1e-3 && $.rate != -1 && $.rate <= +1 }`, []string{doc}, nil},
		{`{ $.big = 9007199254740993 && $.big != 9007199254740992 }`, []string{doc}, nil},
		{`{ $.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = "nonmatch" && $.actions[2] = "nonmatch" }`, []string{doc}, nil},
		{`{ ($.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = "nonmatch") && $.actions[2] = "nonmatch" }`, nil, []string{doc}},
		{`{ ($.user.id = 1) && ($.coordinates[1][0] = 4) }`, []string{doc}, nil},
	} {
		match, err := compilePattern(c.pattern)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		for _, message := range c.takes {
			if match != nil && !match(message) {
				t.Errorf("%s does not take %s", c.pattern, message)
			}
		}
		for _, message := range c.leaves {
			if match == nil || match(message) {
				t.Errorf("%s takes %s", c.pattern, message)
			}
		}
	}
}

// Words chosen at random: a pattern takes just the messages that hold them.
func TestTermsAgainstTheirMeaning(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.SampledFrom([]string{"a", "ab", "b c", `"`, `\`, "_"})
		all, none := rapid.SliceOfN(word, 0, 3).Draw(t, "all"), rapid.SliceOfN(word, 0, 2).Draw(t, "none")
		message := strings.Join(rapid.SliceOfN(word, 0, 4).Draw(t, "message"), " ")
		var parts []string
		want := true
		for _, w := range all {
			parts, want = append(parts, quote(w)), want && strings.Contains(message, w)
		}
		for _, w := range none {
			parts, want = append(parts, "-"+quote(w)), want && !strings.Contains(message, w)
		}
		match, err := compilePattern(strings.Join(parts, " "))
		if err != nil {
			t.Fatal(err)
		}
		if got := match == nil || match(message); got != want {
			t.Fatalf("%v on %q: %t", parts, message, got)
		}
	})
}

func quote(w string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(w) + `"`
}

// No pattern and no message may bring the server down, and what is refused is the client's fault.
func FuzzPattern(f *testing.F) {
	f.Add(`?a -"b\"" c`, "a b c")
	f.Add(`{ ($.a[0]['b c'].d-e >= -1e3 && $.x IS NULL) || $.y NOT EXISTS || $.z = "*q*" }`, `{"a":[{"b c":{"d-e":5}}],"x":null}`)
	f.Add("{ $.a != %x% }", `[1]`)
	f.Fuzz(func(t *testing.T, pattern, message string) {
		if len(pattern) > 4096 { // the model allows 1,024 characters
			return
		}
		match, err := compilePattern(pattern)
		switch {
		case err != nil && (match != nil || !platform.Is(err, platform.Invalid) || err.Error() == ""):
			t.Errorf("%q: %v", pattern, err)
		case err == nil && match != nil:
			match(message)
			if strings.HasPrefix(strings.TrimSpace(pattern), "{") && match(message) && !json.Valid([]byte(message)) {
				t.Errorf("%q takes %q, which is not JSON", pattern, message)
			}
		}
	})
}

func BenchmarkPattern(b *testing.B) {
	const line = `{"level":"INFO","epoch":17,"loss":0.1234,"message":"epoch 17 of 100 done","host":"algo-1"}`
	for name, pattern := range map[string]string{"terms": "epoch -ERROR", "json": `{ $.loss < 0.5 && $.level = "INFO" }`} {
		b.Run(name, func(b *testing.B) {
			match, err := compilePattern(pattern)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				match(line)
			}
		})
	}
}
