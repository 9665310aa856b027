package apitest

import (
	"flag"
	"fmt"
	"html"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/wire/sigv4"
)

var update = flag.Bool("update", false, "rewrite the answers in scenario files")

// PlayAll plays every scenario of the folder testdata of the test's package, beside each other, each at a door that open opens for it; in
// none may the door log anything.
func PlayAll(t *testing.T, open func(t *testing.T, scenario string) *Door) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		scenario := strings.TrimSuffix(filepath.Base(file), ".txt")
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			d := open(t, scenario)
			play(t, d, file)
			if log := d.Log.String(); log != "" {
				t.Errorf("something was logged: %s", log)
			}
		})
	}
}

// play plays a scenario against the door: a text file of calls and the answers they must get. With -update the answers are
// written anew. A line is one of
//
//	# a comment
//	as NAME                 who calls from here on; "root" at first
//	save NAME               keeps the credentials in the answer above
//	advance 15m             moves the clock
//	call SERVICE OPERATION  a Query call, with a parameter Name=Value in each indented line that follows
//	json SERVICE TARGET     a JSON call, with the body in the indented lines that follow
//
// and each call is followed by its answer: a line "-- STATUS", then the body until an empty line.
func play(t *testing.T, d *Door, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := &player{t: t, door: d, saved: map[string]sigv4.Credentials{"root": Of(d.Root)}, as: "root", lines: strings.Split(strings.TrimRight(string(text), "\n"), "\n")}
	for p.at < len(p.lines) {
		p.step()
	}
	got := strings.Join(p.out, "\n") + "\n"
	if got == string(text) {
		return
	}
	if !*update {
		t.Errorf("%s: answers differ:\n%s", file, difference(string(text), got))
		return
	}
	if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
		t.Fatal(err)
	}
}

type player struct {
	t     *testing.T
	door  *Door
	saved map[string]sigv4.Credentials
	as    string
	lines []string
	at    int
	out   []string
	last  string // answer
}

// commands are the lines that do something, by their first word, with how many words there are.
var commands = map[string]struct {
	words int
	run   func(p *player, words []string)
}{
	"as":      {2, (*player).become},
	"save":    {2, func(p *player, words []string) { p.saved[words[1]] = p.credentials() }},
	"advance": {2, (*player).advance},
	"call":    {3, (*player).callQuery},
	"json":    {3, (*player).callJSON},
}

func (p *player) step() {
	line := p.lines[p.at]
	p.at++
	p.out = append(p.out, line)
	words := strings.Fields(line)
	if len(words) == 0 || words[0] == "#" {
		return
	}
	command, known := commands[words[0]]
	if !known || len(words) != command.words {
		p.t.Fatalf("line %d: %q is not understood", p.at, line)
	}
	command.run(p, words)
}

func (p *player) become(words []string) {
	if p.as = words[1]; p.saved[p.as].AccessKeyID == "" {
		p.t.Fatalf("line %d: nobody was saved as %s", p.at, p.as)
	}
}

func (p *player) advance(words []string) {
	d, err := time.ParseDuration(words[1])
	if err != nil {
		p.t.Fatalf("line %d: %v", p.at, err)
	}
	p.door.Clock.Advance(d)
}

func (p *player) callQuery(words []string) {
	form := url.Values{"Action": {words[2]}}
	for _, parameter := range p.indented() {
		name, value, _ := strings.Cut(strings.TrimSpace(parameter), "=")
		form.Set(name, p.expand(value))
	}
	p.answer(p.door.Query(p.t, p.saved[p.as], words[1], form))
}

func (p *player) callJSON(words []string) {
	p.answer(p.door.JSON(p.t, p.saved[p.as], words[1], words[2], p.expand(strings.Join(p.indented(), "\n"))))
}

func (p *player) indented() []string {
	var found []string
	for p.at < len(p.lines) && strings.HasPrefix(p.lines[p.at], "  ") {
		found = append(found, p.lines[p.at])
		p.out = append(p.out, p.lines[p.at])
		p.at++
	}
	return found
}

// expand puts the access key id of somebody saved for {NAME}.
func (p *player) expand(text string) string {
	for name, c := range p.saved {
		text = strings.ReplaceAll(text, "{"+name+"}", c.AccessKeyID)
	}
	return text
}

var (
	requestID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)
	secret    = regexp.MustCompile(`<(SecretAccessKey|SessionToken)>[^<]*<`)
	between   = regexp.MustCompile(`><([^/])`)
)

// answer writes the answer down, one element a line and without what is random or secret, and skips the one that was expected.
func (p *player) answer(status int, body string) {
	p.last = body
	shown := requestID.ReplaceAllString(body, "REQUEST-ID")
	shown = secret.ReplaceAllString(shown, "<$1>SECRET<")
	shown = between.ReplaceAllString(shown, ">\n<$1")
	p.out = append(p.out, fmt.Sprintf("-- %d", status))
	if shown != "" {
		p.out = append(p.out, strings.Split(shown, "\n")...)
	}
	if p.at < len(p.lines) && strings.HasPrefix(p.lines[p.at], "-- ") {
		for p.at < len(p.lines) && p.lines[p.at] != "" {
			p.at++
		}
	}
}

func (p *player) credentials() sigv4.Credentials {
	element := func(name string) string {
		m := regexp.MustCompile("<" + name + ">([^<]*)</" + name + ">").FindStringSubmatch(p.last)
		if m == nil {
			return ""
		}
		return html.UnescapeString(m[1])
	}
	c := sigv4.Credentials{AccessKeyID: element("AccessKeyId"), SecretAccessKey: element("SecretAccessKey"), SessionToken: element("SessionToken")}
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		p.t.Fatalf("line %d: the answer holds no credentials: %s", p.at, p.last)
	}
	return c
}

// difference shows the first lines that differ.
func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		if i >= len(w) || i >= len(g) || w[i] != g[i] {
			return fmt.Sprintf("line %d:\nwant:\n%s\ngot:\n%s", i+1, strings.Join(w[min(i, len(w)):min(i+12, len(w))], "\n"), strings.Join(g[min(i, len(g)):min(i+12, len(g))], "\n"))
		}
	}
	return ""
}
