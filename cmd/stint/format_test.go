package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/api/stint"
)

func TestFormats(t *testing.T) {
	t.Parallel()
	amount := func(a string) string { return rounded(stint.Amount{Amount: a, Currency: "USD"}) }
	for _, tt := range []struct{ got, want string }{
		{duration(-time.Second), "0 s"},
		{duration(0), "0 s"},
		{duration(340 * time.Millisecond), "0.3 s"},
		{duration(7 * time.Second), "7 s"},
		{duration(42*time.Second + 900*time.Millisecond), "42 s"},
		{duration(60 * time.Second), "1 min"},
		{duration(192 * time.Second), "3 min 12 s"},
		{duration(2*time.Hour + 5*time.Minute + 9*time.Second), "2 h 5 min"},
		{duration(24 * time.Hour), "1 d"},
		{duration(76 * time.Hour), "3 d 4 h"},
		{seconds(3), "3 s"},
		{seconds(61), "1 min 1 s"},
		{clock(7 * time.Second), "0:07"},
		{clock(-time.Second), "0:00"},
		{clock(754 * time.Second), "12:34"},
		{clock(3723 * time.Second), "1:02:03"},
		{age(59 * time.Second), "59 s"},
		{age(-time.Second), "0 s"},
		{age(90 * time.Second), "1 min"},
		{age(5 * time.Hour), "5 h"},
		{age(50 * time.Hour), "2 d"},
		{bytesOf(0), "0 B"},
		{bytesOf(1023), "1023 B"},
		{bytesOf(1024), "1.0 KiB"},
		{bytesOf(150 << 20), "150 MiB"},
		{bytesOf(3 << 40), "3.0 TiB"},
		{amount("0.000031944"), "0.000032 USD"},
		{amount("12.5"), "12.500000 USD"},
		{amount("1234.0000005"), "1234.000001 USD"},
		{amount("0"), "0.000000 USD"},
		{amount("what?"), "what? USD"},
		{bar(0, 0, 4), "────"},
		{bar(1, 2, 4), "━━──"},
		{bar(9, 2, 4), "━━━━"},
		{plural(1, "job"), "1 job"},
		{plural(0, "job"), "0 jobs"},
		{quoteShell("/a/b-c_d.e:f"), "/a/b-c_d.e:f"},
		{quoteShell("it's"), `'it'\''s'`},
		{quoteShell(""), "''"},
		{oneLine("a\n  b\tc "), "a b c"},
		{cut("abcdef", 4), "abc…"},
		{cut("abcd", 4), "abcd"},
		{cut("\x1b[1mab\x1b[0mcd", 3), "\x1b[1mab\x1b[0m…"},
	} {
		if tt.got != tt.want {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
}

func TestParseBytes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"16GiB": 16 << 30, "16G": 16 << 30, "16gb": 16 << 30, "1.5g": 3 << 29, "512M": 512 << 20, "2TiB": 2 << 40, "64k": 64 << 10} {
		if got, err := parseBytes(text); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "G", "16", "16X", "-1G", "0G", "1G2"} {
		if got, err := parseBytes(text); err == nil {
			t.Errorf("%s: %d", text, got)
		}
	}
}

// TestCutIsNeverWider: whatever the text and its colours, what is cut fits.
func TestCutIsNeverWider(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.SliceOf(rapid.SampledFrom([]string{"a", "é", "━", "\x1b[31m", "\x1b[0m", " ", "🚀"})).Draw(t, "pieces")
		columns := rapid.IntRange(1, 20).Draw(t, "columns")
		text := strings.Join(pieces, "")
		got := cut(text, columns)
		if visible(got) > columns {
			t.Fatalf("%q is %d wide, not %d", got, visible(got), columns)
		}
		if visible(text) <= columns && got != text {
			t.Fatalf("%q was changed to %q", text, got)
		}
	})
}

func TestTable(t *testing.T) {
	t.Parallel()
	tb := table{head: []string{"NAME", ">COST"}}
	tb.add(paint(true).green("a"), "1")
	tb.add("long", "100")
	if got := strings.ReplaceAll(strings.Join(tb.lines(false), "\n"), "\x1b", "E"); got != "NAME  COST\nE[32maE[0m        1\nlong   100" {
		t.Errorf("%q", got)
	}
}

// TestStatusLine: lines go by above the status, and nothing is left of it at the end.
func TestStatusLine(t *testing.T) {
	t.Parallel()
	var screen bytes.Buffer
	c := &console{out: &screen, err: &screen, live: true}
	c.setStatus("one")
	c.setStatus("one")
	c.print("a line")
	c.setStatus("two")
	c.clearStatus()
	c.clearStatus()
	c.note("end")
	if got := strings.NewReplacer("\r\x1b[K", "|").Replace(screen.String()); got != "|one|a line\none|two|end\n" {
		t.Errorf("%q", got)
	}
	screen.Reset()
	dumb := &console{out: &screen, err: &screen}
	dumb.setStatus("one")
	dumb.print("a line")
	if screen.String() != "a line\n" {
		t.Errorf("%q", screen.String())
	}
}

func TestProgressLines(t *testing.T) {
	t.Parallel()
	var shown []string
	p := &progressLines{show: func(line string) { shown = append(shown, line) }}
	for _, text := range []string{"on", "e\n\ntwo\n thr", "ee \n", "rest"} {
		if n, err := p.Write([]byte(text)); n != len(text) || err != nil {
			t.Fatal(n, err)
		}
	}
	if got := strings.Join(shown, "|"); got != "one|two|three" {
		t.Errorf("%q", got)
	}
}
