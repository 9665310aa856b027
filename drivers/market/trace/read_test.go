package trace

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/platform"
)

// written puts a trace into a file.
func written(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// told is the rows of a type as text: "0s yes 0.5 | 1h0m0s no".
func told(t *testing.T, trace *Trace, of platform.InstanceType) string {
	t.Helper()
	rows, err := trace.Rows(of)
	if err != nil {
		t.Fatal(err)
	}
	var parts []string
	for _, r := range rows {
		text := fmt.Sprintf("%v %v", r.From, map[bool]string{true: "yes", false: "no"}[r.Available])
		if r.Price != 0 {
			text += " " + platform.Money{Nanos: r.Price}.String()
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " | ")
}

func TestFilesThatAreRead(t *testing.T) {
	t.Parallel()
	const sampled = "seconds,available\n0,1\n60,1\n120,1\n180,0\n240,0\n300,0\n360,1\n600,1\n660,1\n720,0\n"
	for name, tt := range map[string]struct {
		text, pick, of, want string
		length               time.Duration
	}{
		"a table of changes":        {"seconds,available\n0,1\n90,0\n", "", "x", "0s yes | 1m30s no", 90 * time.Second},
		"with prices":               {"seconds,available,price\n0,1,0.5\n90,0,\n120.5,true,0.75\n", "", "x", "0s yes 0.50 | 1m30s no | 2m0.5s yes 0.75", 120500 * time.Millisecond},
		"columns in another order":  {"available , seconds\nfalse, 0\n 1 ,60\n", "", "x", "0s no | 1m0s yes", time.Minute},
		"of several types":          {"seconds,available,instance_type\n0,1,a\n0,0,b\n60,0,a\n90,1,b\n", "", "b", "0s no | 1m30s yes", 90 * time.Second},
		"rows that say it again":    {"seconds,available\n0,1\n90,1\n100,0\n200,0\n", "", "x", "0s yes | 1m40s no", 200 * time.Second},
		"remarks and foreign ends":  {"\ufeff# a trace\r\n\r\nseconds,available\r\n# more\r\n0,1\r\n5,0\r\n", "", "x", "0s yes | 5s no", 5 * time.Second},
		"one row":                   {"seconds,available\n0,1", "", "x", "0s yes", 0},
		"a gap that holds":          {"# gaps: hold\n" + sampled, "", "x", "0s yes | 3m0s no | 6m0s yes | 12m0s no", 13 * time.Minute},
		"a gap with none available": {"# gaps: unavailable\n" + sampled, "", "x", "0s yes | 3m0s no | 6m0s yes | 7m0s no | 10m0s yes | 12m0s no", 13 * time.Minute},
		"a late beginning":          {"#gaps: unavailable\nseconds,available\n60,1\n", "", "x", "0s no | 1m0s yes", time.Minute},
		"a window":                  {"zone_a 7 600 1100\n", "", "x", "0s yes | 20m0s no", 40 * time.Minute},
		"a window of several":       {"a 0 600 0\n# a remark\n\n  b 0 0.5 011\nb 1 60 1\n", "b/0", "x", "0s no | 500ms yes", 1500 * time.Millisecond},
	} {
		for _, packed := range []bool{false, true} {
			text := tt.text
			if packed {
				text = zipped(t, text)
			}
			file := written(t, "trace", text)
			pick := file
			if tt.pick != "" {
				pick += "#" + tt.pick
			}
			trace, err := Read(pick)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if got := told(t, trace, platform.InstanceType(tt.of)); got != tt.want || trace.Length != tt.length {
				t.Errorf("%s: %s, %v long; want %s, %v", name, got, trace.Length, tt.want, tt.length)
			}
			if trace.Name != pick {
				t.Errorf("%s is called %s", name, trace.Name)
			}
		}
	}
}

func zipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Every error names the file, and the place in it where there is one.
func TestFilesThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, pick, want string }{
		{"", "", "FILE is empty; a trace needs a row at least"},
		{"# only remarks\n\n", "", "FILE is empty; a trace needs a row at least"},
		{"seconds,available\n", "", "FILE has a head and no row; a trace needs one at least"},
		{"seconds,price\n0,1\n", "", "FILE, line 1, column 1: the column available is missing; the head is seconds,available,price,instance_type, of which price and instance_type may be left out"},
		{"seconds\n0\n", "", "FILE, line 1, column 1: the column available is missing; the head is seconds,available,price,instance_type, of which price and instance_type may be left out"},
		{"# r\nseconds,available,zone\n0,1,a\n", "", `FILE, line 2, column 19: there is no column "zone"; a trace has seconds, available, price, instance_type`},
		{"seconds,available,available\n0,1,1\n", "", "FILE, line 1, column 19: the column available stands there twice"},
		{"0,1\n", "", `FILE, line 1, column 1: there is no column "0"; a trace has seconds, available, price, instance_type`},
		{"seconds,available\n0,1\n60\n", "", "FILE, line 3, column 1: the row has not the 2 columns of the head (seconds,available)"},
		{"seconds,available\n0,\"1\n", "", `FILE, line 2, column 6: extraneous or missing " in quoted-field`},
		{"seconds,available\n60,1\n", "", "FILE, line 2, column 1: seconds: the first row is at 1m0s: what was offered before it is a gap; add a row for second 0"},
		{"# gaps: hold\nseconds,available\n60,1\n", "", "FILE, line 3, column 1: seconds: the first row is at 1m0s: what was offered before it is a gap; add a row for second 0"},
		{"# gaps: guess\nseconds,available\n0,1\n", "", `FILE, line 1, column 1: gaps can be read as hold or unavailable, not "guess"`},
		{"seconds,available\n0,1\n60,\n", "", "FILE, line 3, column 4: available: empty, a gap; say 1 or 0"},
		{"seconds,available\n0,maybe\n", "", `FILE, line 2, column 3: available: "maybe" is neither 1 nor 0`},
		{"seconds,available\n0,1\n60,0\n60,1\n", "", "FILE, line 4, column 1: seconds: a second row at 1m0s; one row says what holds"},
		{"seconds,available\n0,1\n60,0\n59,1\n", "", "FILE, line 4, column 1: seconds: 59s comes after 1m0s; rows are in order of time"},
		{"seconds,available\n-1,1\n", "", "FILE, line 2, column 1: seconds: -1 seconds is before the trace's beginning"},
		{"seconds,available\n0,1\nsoon,1\n", "", `FILE, line 3, column 1: seconds: "soon" is not a number of seconds`},
		{"seconds,available\n0,1\nNaN,1\n", "", `FILE, line 3, column 1: seconds: "NaN" is not a number of seconds`},
		{"seconds,available\n0,1\n1e999999,1\n", "", `FILE, line 3, column 1: seconds: "1e999999" is not a number of seconds`},
		{"seconds,available\n0,1\n400000000,1\n", "", "FILE, line 3, column 1: seconds: 400000000 seconds is more than ten years"},
		{"seconds,available,price\n0,1,-0.1\n", "", "FILE, line 2, column 5: price: -0.1 is no price; it must be more than 0 (leave it empty where it is not known)"},
		{"seconds,available,price\n0,1,0\n", "", "FILE, line 2, column 5: price: 0 is no price; it must be more than 0 (leave it empty where it is not known)"},
		{"seconds,available,price\n0,1,cheap\n", "", `FILE, line 2, column 5: price: "cheap" is not a price of at most nine decimals`},
		{"seconds,available,price\n0,1,0.1234567891\n", "", `FILE, line 2, column 5: price: "0.1234567891" is not a price of at most nine decimals`},
		{"seconds,available,price\n0,1,1000001\n", "", "FILE, line 2, column 5: price: 1000001 an hour is more than anything costs"},
		{"seconds,available,instance_type\n0,1,\n", "", "FILE, line 2, column 5: instance_type: empty; name the instance type, or leave the column out of a trace that holds for any"},
		{"seconds,available\n0,1\n60,1\n120,1\n180,0\n240,0\n420,1\n480,1\n540,1\n600,1\n", "", "FILE, line 7, column 1: no row between 4m0s and 7m0s, where the others are 1m0s apart; a gap is not guessed: " +
			`add what is missing, or say before the head how to read it, "# gaps: hold" or "# gaps: unavailable"`},
		{"seconds,available\n0,1\n", "a/0", "FILE is a table, which has no windows; name it without #a/0"},
		{"a 0 600\n", "", "FILE, line 1, column 1: a window has 4 fields (environment window gap_seconds bits), this line has 3; a table begins with the head seconds,available"},
		{"a 0 600 01?1\n", "", "FILE, line 1, column 11: bits: '?' is neither 0 nor 1; a gap in the record cannot be replayed"},
		{"  a  a 0 1\n", "", "FILE, line 1, column 8: gap_seconds: the time between two observations must be more than 0"},
		{"a 0 -600 01\n", "", "FILE, line 1, column 5: gap_seconds: -600 seconds is before the trace's beginning"},
		{"a 0 x 01\n", "", `FILE, line 1, column 5: gap_seconds: "x" is not a number of seconds`},
		{"a 0 200000000 01\n", "", "FILE, line 1, column 15: bits: 2 observations, 200000000 s apart, are more than ten years"},
		{"a 0 600 01\nb 1 600 01\n", "", "FILE holds 2 windows; pick one, as in FILE#a/0 (it has a/0, b/1)"},
		{"a 0 600 01\nb 1 600 01\n", "c/0", "FILE has no window c/0; it has a/0, b/1"},
		{"a 0 600 01\na 1 600 01\na 2 6 0\na 3 6 0\na 4 6 0\na 5 6 0\n", "a", "FILE has no window a; it has a/0, a/1, a/2, a/3, a/4 …"},
		{"a 0 600 01\na 0 600 11\n", "a/0", "FILE, line 2, column 1: the window a/0 stands in the file twice"},
	} {
		file := written(t, "trace", tt.text)
		pick := file
		if tt.pick != "" {
			pick += "#" + tt.pick
		}
		_, err := Read(pick)
		if err == nil || !platform.Is(err, platform.Invalid) || strings.ReplaceAll(err.Error(), file, "FILE") != tt.want {
			t.Errorf("%q:\n got %v\nwant %s", tt.text, err, strings.ReplaceAll(tt.want, "FILE", file))
		}
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := Read(filepath.Join(dir, "none.csv")); !platform.Is(err, platform.NotFound) || !strings.HasPrefix(err.Error(), "there is no trace file ") {
		t.Errorf("no file: %v", err)
	}
	if _, err := Read(dir); !platform.Is(err, platform.Invalid) {
		t.Errorf("a folder: %v", err)
	}
	packed := zipped(t, "a 0 600 0101\n")
	for what, text := range map[string]string{"cut short": packed[:len(packed)-6], "no more than its beginning": packed[:3]} {
		if _, err := Read(written(t, "x.gz", text)); !platform.Is(err, platform.Invalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	bomb := zipped(t, strings.Repeat(" ", maxBytes+1))
	if _, err := Read(written(t, "bomb.gz", bomb)); err == nil || !strings.Contains(err.Error(), "holds more than 64 MiB") {
		t.Errorf("a file that unpacks to too much: %v", err)
	}
	hash := written(t, "a#b", "seconds,available\n0,1\n")
	if _, err := Read(hash); err != nil {
		t.Errorf("a file with # in its name: %v", err)
	}
}

func TestTypesThatATraceDoesNotKnow(t *testing.T) {
	t.Parallel()
	trace, err := Read(written(t, "t.csv", "seconds,available,instance_type\n0,1,ml.b\n0,0,ml.a\n"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = trace.Rows("ml.c")
	if !platform.Is(err, platform.Invalid) || !strings.HasSuffix(err.Error(), "t.csv says nothing of ml.c, only of ml.a, ml.b") {
		t.Errorf("%v", err)
	}
}

func TestTheExampleIsATrace(t *testing.T) {
	t.Parallel()
	trace, err := Example()
	if err != nil {
		t.Fatal(err)
	}
	if trace.Length != 72*time.Hour || len(trace.Types()) != 0 {
		t.Errorf("%v long, of %v", trace.Length, trace.Types())
	}
}

// What is sampled from the rows of a window is the window.
func TestAWindowIsSampledAsItWasWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.StringMatching(`[01]{1,200}`).Draw(t, "bits")
		gap := rapid.IntRange(1, 3600).Draw(t, "gap")
		trace, err := parse(fmt.Appendf(nil, "env 1 %d %s\n", gap, bits), source{file: "f"})
		if err != nil {
			t.Fatal(err)
		}
		rows, err := trace.Rows("any")
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for _, has := range Sample(rows, time.Duration(gap)*time.Second, len(bits)) {
			got.WriteByte("01"[map[bool]int{true: 1}[has]])
		}
		if got.String() != bits {
			t.Fatalf("%s came back as %s", bits, got.String())
		}
	})
}

// FuzzParse: whatever a file holds, it is a sound trace or an error that names the file.
func FuzzParse(f *testing.F) {
	f.Add([]byte("seconds,available,price,instance_type\n0,1,0.5,ml.a\n60,0,,ml.a\n"), "")
	f.Add([]byte("# gaps: unavailable\nseconds,available\n5,1\n60,0\n"), "")
	f.Add([]byte("a 0 600 0101\nb 1 60 1\n"), "b/1")
	f.Add(example, "")
	f.Fuzz(func(t *testing.T, text []byte, window string) {
		trace, err := parse(text, source{file: "the file", window: window})
		if err != nil {
			if !platform.Is(err, platform.Invalid) || !strings.Contains(err.Error(), "the file") {
				t.Fatalf("%v", err)
			}
			return
		}
		for of, rows := range trace.rows {
			checkRows(t, trace, of, rows)
		}
	})
}

// checkRows holds what is true of the rows of any trace.
func checkRows(t *testing.T, trace *Trace, of platform.InstanceType, rows []Row) {
	t.Helper()
	if len(rows) == 0 || rows[0].From != 0 {
		t.Fatalf("%q: %v", of, rows)
	}
	for i, r := range rows {
		if i > 0 && r.From <= rows[i-1].From || r.Price < 0 || r.From > trace.Length && r.From > 0 {
			t.Fatalf("%q, row %d: %+v, %v long", of, i, r, trace.Length)
		}
	}
}
