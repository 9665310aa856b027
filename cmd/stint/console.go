package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// console is what a person reads: results on out, all else on err. When err is a terminal its last line can be a status that
// changes in place while lines go by above it. It is safe for concurrent use.
type console struct {
	out, err     io.Writer
	onOut, onErr paint
	live         bool // there may be a status line
	screen       bool // out is a terminal, which can be cleared

	mu     sync.Mutex
	status string // as it stands on the terminal now
}

func newConsole(out, err *os.File) *console {
	plain := os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb"
	return &console{
		out: out, err: err,
		onOut: paint(terminalWidth(out) > 0 && !plain), onErr: paint(terminalWidth(err) > 0 && !plain),
		live:   terminalWidth(err) > 0 && os.Getenv("TERM") != "dumb",
		screen: terminalWidth(out) > 0 && os.Getenv("TERM") != "dumb",
	}
}

// terminalWidth is 0 when f is no terminal.
func terminalWidth(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return max(int(size.Col), 1)
}

// width is how much fits into a status line.
func (c *console) width() int {
	if f, ok := c.err.(*os.File); ok {
		if w := terminalWidth(f); w > 20 {
			return w
		}
	}
	return 80
}

// print writes a result.
func (c *console) print(format string, args ...any) { c.above(c.out, fmt.Sprintf(format, args...)) }

// note writes a line that is not the result.
func (c *console) note(format string, args ...any) { c.above(c.err, fmt.Sprintf(format, args...)) }

// above writes a line and puts the status back under it.
func (c *console) above(w io.Writer, line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status == "" {
		fmt.Fprintln(w, line)
		return
	}
	fmt.Fprint(c.err, eraseLine)
	fmt.Fprintln(w, line)
	fmt.Fprint(c.err, c.status)
}

const eraseLine = "\r\x1b[K"

// setStatus changes the status line; where there can be none, it does nothing.
func (c *console) setStatus(status string) {
	if !c.live {
		return
	}
	status = cut(status, c.width()-1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if status != c.status {
		fmt.Fprint(c.err, eraseLine+status)
		c.status = status
	}
}

func (c *console) clearStatus() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status != "" {
		fmt.Fprint(c.err, eraseLine)
		c.status = ""
	}
}

// printJSON writes a result for programs.
func (c *console) printJSON(value any) error {
	doc, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	c.print("%s", doc)
	return nil
}

// paint colours text, or does not.
type paint bool

func (p paint) with(code, text string) string {
	if !p || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p paint) bold(text string) string   { return p.with("1", text) }
func (p paint) dim(text string) string    { return p.with("2", text) }
func (p paint) red(text string) string    { return p.with("31", text) }
func (p paint) green(text string) string  { return p.with("32", text) }
func (p paint) yellow(text string) string { return p.with("33", text) }
func (p paint) cyan(text string) string   { return p.with("36", text) }

// status colours a job's status by what it means.
func (p paint) status(status, text string) string {
	switch status {
	case "Completed":
		return p.green(text)
	case "Failed":
		return p.red(text)
	case "Stopped", "Stopping":
		return p.yellow(text)
	default:
		return p.cyan(text)
	}
}

// visible is how many columns a text takes, without its colours.
func visible(text string) int {
	n := 0
	for i := 0; i < len(text); {
		if skip := escape(text[i:]); skip > 0 {
			i += skip
			continue
		}
		_, size := utf8.DecodeRuneInString(text[i:])
		i += size
		n++
	}
	return n
}

// escape is the length of the colour code that text begins with, or 0.
func escape(text string) int {
	if !strings.HasPrefix(text, "\x1b[") {
		return 0
	}
	return strings.IndexByte(text, 'm') + 1
}

// cut shortens a text to so many columns, keeping its colour codes.
func cut(text string, columns int) string {
	if visible(text) <= columns {
		return text
	}
	var b strings.Builder
	for n, i := 0, 0; i < len(text); {
		skip := escape(text[i:])
		if skip == 0 {
			_, skip = utf8.DecodeRuneInString(text[i:])
			if n++; n == columns {
				b.WriteString("…")
			}
			if n >= columns {
				i += skip
				continue
			}
		}
		b.WriteString(text[i : i+skip])
		i += skip
	}
	return b.String()
}

// table is rows of cells under a head; a column is as wide as its widest cell. Columns whose head begins with '>' are set to
// the right.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// lines sets the table; bold is for its head.
func (t *table) lines(p paint) []string {
	widths := make([]int, len(t.head))
	right := make([]bool, len(t.head))
	head := make([]string, len(t.head))
	for i, h := range t.head {
		head[i], right[i] = strings.TrimPrefix(h, ">"), strings.HasPrefix(h, ">")
		widths[i] = visible(head[i])
		for _, row := range t.rows {
			widths[i] = max(widths[i], visible(row[i]))
		}
	}
	set := func(cells []string, style func(string) string) string {
		var b strings.Builder
		for i, cell := range cells {
			pad := strings.Repeat(" ", widths[i]-visible(cell))
			if right[i] {
				cell = pad + style(cell)
			} else {
				cell = style(cell) + pad
			}
			if i > 0 {
				b.WriteString("  ")
			}
			b.WriteString(cell)
		}
		return strings.TrimRight(b.String(), " ")
	}
	out := []string{set(head, p.dim)}
	for _, row := range t.rows {
		out = append(out, set(row, func(cell string) string { return cell }))
	}
	return out
}
