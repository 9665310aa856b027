package agent

import (
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/shapes/sagemaker"
)

// split feeds pieces a given time apart and gives the messages.
func split(apart time.Duration, pieces ...string) []string {
	var s splitter
	now := time.Unix(1_700_000_000, 0)
	for _, p := range pieces {
		s.feed([]byte(p), now)
		s.show(now)
		now = now.Add(apart)
	}
	s.finish(now)
	var messages []string
	for _, e := range s.take() {
		messages = append(messages, e.Message)
	}
	return messages
}

func TestLines(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		apart  time.Duration
		pieces []string
		want   []string
	}{
		"plain":                   {0, []string{"a\nb\n"}, []string{"a", "b"}},
		"no end":                  {0, []string{"a\nb"}, []string{"a", "b"}},
		"in pieces":               {time.Hour, []string{"a", "b", "\nc", "\n"}, []string{"ab", "c"}},
		"empty lines stay":        {0, []string{"a\n\nb\n"}, []string{"a", "", "b"}},
		"nothing":                 {0, []string{""}, nil},
		"DOS":                     {0, []string{"a\r\nb\r\n"}, []string{"a", "b"}},
		"DOS in pieces":           {time.Hour, []string{"a\r", "\nb\r", "\n"}, []string{"a", "b"}},
		"bar within a second":     {10 * time.Millisecond, []string{"\r1%", "\r2%", "\r3%", "\n"}, []string{"3%"}},
		"bar, a state a second":   {time.Second, []string{"\r1%", "\r2%", "\r3%\n"}, []string{"1%", "2%", "3%"}},
		"bar that stands":         {2 * time.Second, []string{"\r1%", "", "", "", "\r2%", "", "\n"}, []string{"1%", "2%"}},
		"bar with the CR behind":  {10 * time.Millisecond, []string{"1%\r", "2%\r", "3%\r", "done\n"}, []string{"done"}},
		"bar at the end":          {10 * time.Millisecond, []string{"\r1%", "\r2%"}, []string{"2%"}},
		"text before a bar":       {0, []string{"epoch 1\n\r 50%|##\r100%|####\nepoch 2\n"}, []string{"epoch 1", "100%|####", "epoch 2"}},
		"invalid UTF-8":           {0, []string{"a\xff\xfeb\n\x80\n"}, []string{"a\uFFFDb", "\uFFFD"}},
		"a character in pieces":   {0, []string{"\xc3", "\xa9\n"}, []string{"é"}},
		"zero bytes and controls": {0, []string{"a\x00b\x1b[31m\n"}, []string{"a\x00b\x1b[31m"}},
	} {
		if got := split(c.apart, c.pieces...); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestLongLineIsCutBetweenCharacters(t *testing.T) {
	t.Parallel()
	line := strings.Repeat("aé€", 200_000) // 1.2 MB
	got := split(0, line[:700_001], line[700_001:]+"\nnext\n")
	if strings.Join(got[:len(got)-1], "") != line || got[len(got)-1] != "next" {
		t.Error("text was lost")
	}
	for _, m := range got {
		if len(m) > eventBytes || !utf8.ValidString(m) {
			t.Errorf("an event has %d bytes, valid %v", len(m), utf8.ValidString(m))
		}
	}
	if len(got) != 6 {
		t.Errorf("%d events", len(got))
	}
	if stray := split(0, strings.Repeat("\xffa", 200_000)+"\n"); strings.Join(stray, "") != strings.Repeat("\uFFFDa", 200_000) {
		t.Error("stray bytes: text was lost")
	}
}

// However a stream without carriage returns is cut into reads, its lines come out whole and in order.
func TestLinesDoNotDependOnTheReads(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOf(rapid.StringMatching(`[a-zé€ ]{0,20}`)).Draw(t, "lines")
		stream := strings.Join(lines, "\n") + "\n"
		if len(lines) == 0 {
			stream = ""
		}
		var pieces []string
		for rest := stream; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "n")
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		if got := split(time.Second, pieces...); !slices.Equal(got, lines) && len(got)+len(lines) > 0 {
			t.Fatalf("got %q, want %q", got, lines)
		}
	})
}

func TestRequiredLiteral(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]string{
		`loss=([0-9.]+);`: "loss=", `.*Test set: loss ([0-9.]+)`: "Test set: loss ", `(?i)loss=(.*)`: "", `a(bc|d)e`: "a",
		`(x|y)(.*)`: "", `(?:loss: )?(\d+)`: "", `(loss)+ ([0-9])`: "loss", `acc=(\d+)\.`: "acc=",
	} {
		if got := requiredLiteral(expression); got != want {
			t.Errorf("%s: got %q, want %q", expression, got, want)
		}
	}
}

func TestMetricValues(t *testing.T) {
	t.Parallel()
	definitions := []sagemaker.MetricDefinition{
		{Name: new("a"), Regex: new(`a=(.*?);`)}, {Name: new("e"), Regex: new(`e=([-+0-9.eE]+|nan|inf)`)}, {Name: new("end"), Regex: new(`v (\d+)\Z`)},
	}
	metrics, warnings := newMetrics(definitions)
	if len(warnings) > 0 {
		t.Fatal(warnings)
	}
	for line, want := range map[string][]float64{
		"a=1; a= 2 ;": {1, 2}, "a=one;": nil, "e=-1.5e-3": {-1.5e-3}, "e=nan e=inf": nil, "v 7": {7}, "v 7 x": nil, "nothing": nil,
	} {
		var s splitter
		s.feed([]byte(line+"\n"), time.Time{})
		var got []float64
		for _, v := range find(metrics, s.take()[0]) {
			got = append(got, v.Value)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", line, got, want)
		}
	}
}
