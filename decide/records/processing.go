package records

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"

	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// Format is how records are written; empty when it is none that filters and joins can read.
type Format string

// The formats.
const (
	CSV       Format = "csv"       // a row a line; a row has no line break, not even between quotes
	JSON      Format = "json"      // one value
	JSONLines Format = "jsonlines" // a value a line
)

// FormatOf is the format of a media type.
func FormatOf(mediaType string) Format {
	kind, _, err := mime.ParseMediaType(mediaType)
	if err != nil {
		return ""
	}
	switch kind {
	case "text/csv":
		return CSV
	case "application/json":
		return JSON
	case "application/jsonlines", "application/x-jsonlines", "application/jsonlines+json":
		return JSONLines
	}
	return ""
}

// Processing is a job's DataProcessing, ready for use.
type Processing struct {
	input, output Path
	join          bool
	in, out       Format
	lines         bool // each line of a payload is a record
}

// New reads a job's DataProcessing; nil when it changes nothing. The error says what the request asks for and cannot have.
func New(in *sagemaker.CreateTransformJobRequest) (*Processing, error) {
	d := in.DataProcessing
	if d == nil {
		return nil, nil
	}
	p := &Processing{join: shapes.Value(d.JoinSource) == sagemaker.JoinSourceInput}
	for _, f := range []struct {
		name, text string
		path       *Path
	}{{"InputFilter", shapes.Value(d.InputFilter), &p.input}, {"OutputFilter", shapes.Value(d.OutputFilter), &p.output}} {
		var err error
		if *f.path, err = ParsePath(f.text); err != nil {
			return nil, fmt.Errorf("DataProcessing.%s %q is not a JSONPath that is supported: %w", f.name, f.text, err)
		}
	}
	if !p.join && p.input.Whole() && p.output.Whole() {
		return nil, nil
	}
	return p, p.suit(in)
}

// suit checks that the job's data can be processed.
func (p *Processing) suit(in *sagemaker.CreateTransformJobRequest) error {
	const known = "text/csv, application/json or application/jsonlines"
	split, content, accept := shapes.Value(in.TransformInput.SplitType), shapes.Value(in.TransformInput.ContentType), shapes.Value(in.TransformOutput.Accept)
	p.in, p.out = FormatOf(content), FormatOf(accept)
	if accept == "" || accept == "*/*" {
		p.out = p.in
	}
	p.lines = split == sagemaker.SplitTypeLine || p.in != JSON
	switch {
	case split == sagemaker.SplitTypeRecordIO || split == sagemaker.SplitTypeTFRecord:
		return fmt.Errorf("DataProcessing needs SplitType None or Line; got %s", split)
	case p.in == "":
		return fmt.Errorf("DataProcessing needs TransformInput.ContentType %s; got %q", known, content)
	case p.out == "":
		return fmt.Errorf("DataProcessing needs TransformOutput.Accept %s; got %q", known, accept)
	case p.join && (p.in == CSV) != (p.out == CSV):
		return fmt.Errorf("JoinSource Input cannot join %s with %s; TransformOutput.Accept must be of the format of TransformInput.ContentType", content, accept)
	case in.MaxPayloadInMB != nil && *in.MaxPayloadInMB == 0:
		return errors.New("DataProcessing needs a MaxPayloadInMB above 0: what is streamed is not taken apart")
	}
	return nil
}

// Lines reports whether each line of a payload is a record; else all of it is one.
func (p *Processing) Lines() bool { return p.lines }

// Filters reports whether the model is given something else than the input.
func (p *Processing) Filters() bool { return !p.input.Whole() }

// Asks reports whether Keep needs the input.
func (p *Processing) Asks() bool { return p.join || !p.output.Whole() }

// Give appends what the model is given of a record.
func (p *Processing) Give(dst, record []byte) ([]byte, error) {
	if p.input.Whole() {
		return append(dst, record...), nil
	}
	dst, err := selected(dst, p.input, p.in, record)
	if err != nil {
		return nil, fmt.Errorf("InputFilter: %w", err)
	}
	return dst, nil
}

// Keep appends what is kept of a record and the model's answer to it.
func (p *Processing) Keep(dst, record, answer []byte) (_ []byte, err error) {
	answer = bytes.TrimSpace(answer)
	if p.out != CSV {
		if answer, err = compact(answer); err != nil {
			return nil, fmt.Errorf("the model's answer %w", err)
		}
	}
	if !p.join {
		if p.output.Whole() {
			return append(dst, answer...), nil
		}
		return p.filtered(dst, p.out, answer)
	}
	record = bytes.TrimSpace(record)
	var joined []byte
	if p.in == CSV {
		joined = append(append(append(joined, record...), ','), answer...)
	} else {
		if record, err = compact(record); err != nil {
			return nil, fmt.Errorf("the record %w", err)
		}
		joined = joinJSON(nil, record, answer)
	}
	if p.output.Whole() {
		return append(dst, joined...), nil
	}
	return p.filtered(dst, p.in, joined)
}

func (p *Processing) filtered(dst []byte, f Format, value []byte) ([]byte, error) {
	dst, err := selected(dst, p.output, f, value)
	if err != nil {
		return nil, fmt.Errorf("OutputFilter: %w", err)
	}
	return dst, nil
}

// selected appends what a path selects of a record.
func selected(dst []byte, p Path, f Format, record []byte) ([]byte, error) {
	record = bytes.TrimSpace(record)
	if f == CSV {
		return p.selectCSV(dst, record)
	}
	if !json.Valid(record) {
		return nil, fmt.Errorf("%s is not valid JSON", short(record))
	}
	return p.selectJSON(dst, record)
}

// Answers takes the model's answer to n records apart: a line each, or the elements of one JSON list.
func (p *Processing) Answers(answer []byte, n int) ([][]byte, error) {
	if n == 1 {
		return [][]byte{answer}, nil
	}
	lines := Lines(answer)
	if len(lines) == n {
		return lines, nil
	}
	if whole := bytes.TrimSpace(answer); p.out != CSV && len(whole) > 0 && whole[0] == '[' && json.Valid(whole) {
		if list := parts(whole); len(list) == n {
			return list, nil
		}
	}
	return nil, fmt.Errorf("the model answered %d records with %d lines; it must answer each with one, or BatchStrategy must be SingleRecord", n, len(lines))
}

// Lines are the lines of a text that are not empty, without their ends.
func Lines(text []byte) [][]byte {
	var out [][]byte
	for len(text) > 0 {
		line, rest, _ := bytes.Cut(text, []byte{'\n'})
		if line = bytes.TrimSuffix(line, []byte{'\r'}); len(line) > 0 {
			out = append(out, line)
		}
		text = rest
	}
	return out
}

// selectCSV appends the fields of a row that the path selects.
func (p Path) selectCSV(dst, row []byte) ([]byte, error) {
	if p.Whole() {
		return append(dst, row...), nil
	}
	if len(p.steps) > 1 {
		return nil, errors.New("a CSV row has fields and nothing below them")
	}
	all := fields(row)
	picked, err := p.steps[0].pick(len(all))
	if err != nil {
		return nil, err
	}
	for i, at := range picked {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, all[at]...)
	}
	return dst, nil
}

// fields are the fields of a row as they are written, quotes included.
func fields(row []byte) [][]byte {
	var out [][]byte
	start, quoted := 0, false
	for i, c := range row {
		switch {
		case c == '"':
			quoted = !quoted // a doubled quote is out and in again
		case c == ',' && !quoted:
			out, start = append(out, row[start:i]), i+1
		}
	}
	return append(out, row[start:])
}
