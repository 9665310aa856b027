package trace

import (
	"bytes"
	"strings"
	"time"

	"github.com/stint-ml/stint/platform"
)

// fieldsOfWindow are its name, number, seconds between two observations, and the observations.
const fieldsOfWindow = 4

// parseWindows finds the window that is asked for; of a file with one window it need not be named.
func parseWindows(text []byte, src source) (*Trace, error) {
	var found *Trace // or any window, as long as none is picked
	var names []string
	number := 0
	for line := range bytes.Lines(text) {
		number++
		fields := bytes.Fields(line)
		if len(fields) == 0 || fields[0][0] == '#' {
			continue
		}
		if len(fields) != fieldsOfWindow {
			return nil, src.wrong(number, 1, "a window has %d fields (environment window gap_seconds bits), this line has %d; "+
				"a table begins with the head seconds,available", fieldsOfWindow, len(fields))
		}
		name := string(fields[0]) + "/" + string(fields[1])
		names = append(names, name)
		if src.window != "" && src.window != name {
			continue
		}
		if found != nil && src.window != "" {
			return nil, src.wrong(number, 1, "the window %s stands in the file twice", name)
		}
		var err error
		if found, err = parseWindow(line, fields, number, src); err != nil {
			return nil, err
		}
	}
	return found, pickedOne(found, names, src)
}

// pickedOne complains when the file has not the window that is asked for, or too many to know which is meant.
func pickedOne(found *Trace, names []string, src source) error {
	switch {
	case found == nil:
		return platform.Errorf(platform.Invalid, src.name(), "%s has no window %s; it has %s", src.file, src.window, some(names))
	case len(names) > 1 && src.window == "":
		return platform.Errorf(platform.Invalid, src.name(), "%s holds %d windows; pick one, as in %s#%s (it has %s)",
			src.file, len(names), src.file, names[0], some(names))
	}
	return nil
}

// some names the first few.
func some(names []string) string {
	if len(names) > 5 {
		return strings.Join(names[:5], ", ") + " …"
	}
	return strings.Join(names, ", ")
}

func parseWindow(line []byte, fields [][]byte, number int, src source) (*Trace, error) {
	column := func(field int) int { // from 1
		at := 0
		for _, f := range fields[:field] {
			at += bytes.Index(line[at:], f) + len(f)
		}
		return at + bytes.Index(line[at:], fields[field]) + 1
	}
	gap, err := parseSeconds(string(fields[2]))
	if err != nil {
		return nil, src.wrong(number, column(2), "gap_seconds: %v", err)
	}
	if gap == 0 {
		return nil, src.wrong(number, column(2), "gap_seconds: the time between two observations must be more than 0")
	}
	bits := fields[3]
	if time.Duration(len(bits)) > maxLength/gap {
		return nil, src.wrong(number, column(3), "bits: %d observations, %s s apart, are more than ten years", len(bits), fields[2])
	}
	rows := make([]Row, len(bits))
	for i, bit := range bits {
		if bit != '0' && bit != '1' {
			return nil, src.wrong(number, column(3)+i, "bits: %q is neither 0 nor 1; a gap in the record cannot be replayed", rune(bit))
		}
		rows[i] = Row{From: time.Duration(i) * gap, Available: bit == '1'}
	}
	t := &Trace{Name: src.name(), Length: time.Duration(len(bits)) * gap}
	t.rows = map[platform.InstanceType][]Row{"": simplify(rows)}
	return t, nil
}
