package batch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/stint-ml/stint/decide/records"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

const (
	// An exchange has as many payloads as the model answers in about this time: to hand one over between goroutines costs as much
	// as a fast model, and connections should not wait for one another at the end of an object.
	leastTime, mostTime = time.Millisecond, 4 * time.Millisecond
	// mostPayloads bounds what waits for its turn when a model that was fast becomes slow.
	mostPayloads = 32
	// mostTogether is from what size on no payload is added: larger ones go alone, and there are as few in memory as can be.
	mostTogether = 64 << 10
)

// exchange is some payloads, on their way there or back. One connection sends them, each in a request of its own, one after the
// other.
type exchange struct {
	ctx     context.Context // of its object
	parts   []part          // the payloads
	input   []byte          // the records of all, as they are
	given   []byte          // what the model is given of them, if that is less
	answers []byte
	kept    []byte // what the output gets, if that is something else
	err     error
	done    chan struct{} // holds a token when all is answered
	in      io.Reader     // instead of payloads: an object that is streamed
	out     io.Writer
}

// part is where what belongs to one payload ends.
type part struct{ input, given, answer int }

// before is where what belongs to a payload begins.
func (x *exchange) before(i int) part {
	if i == 0 {
		return part{}
	}
	return x.parts[i-1]
}

// payload is what is sent.
func (s *Sender) payload(x *exchange, i int) []byte {
	from, to := x.before(i), x.parts[i]
	if s.filters() {
		return x.given[from.given:to.given]
	}
	return x.input[from.input:to.input]
}

// pace is how many payloads make an exchange.
type pace struct{ n atomic.Int32 }

func (p *pace) payloads() int { return max(1, int(p.n.Load())) }

// note learns from an exchange of n payloads, as many as it should have had or not. Those that overtake each other do no harm.
func (p *pace) note(n int, took time.Duration) {
	switch wanted := p.payloads(); {
	case took < leastTime && n >= wanted:
		p.n.Store(int32(min(2*wanted, mostPayloads))) //nolint:gosec // small
	case took > mostTime:
		p.n.Store(int32(int64(n) * int64(mostTime) / int64(took))) //nolint:gosec // less than n
	}
}

// filler fills exchanges from an object.
type filler struct {
	s       *Sender
	records recordReader
	pending []byte // a record that did not fit into the last payload
	ended   bool
}

// fill makes the next up to n payloads; none are the end.
func (f *filler) fill(x *exchange, n int) error {
	x.input, x.given, x.answers, x.parts = x.input[:0], x.given[:0], x.answers[:0], x.parts[:0]
	for len(x.parts) < n && len(x.input) < mostTogether {
		from := len(x.input)
		count, err := f.gather(x)
		if err != nil || count == 0 {
			return err
		}
		if err := f.give(x, x.input[from:]); err != nil {
			return err
		}
		x.parts = append(x.parts, part{input: len(x.input), given: len(x.given)})
	}
	return nil
}

// gather appends the records of the next payload, and counts them.
func (f *filler) gather(x *exchange) (count int, err error) {
	from := len(x.input)
	for !f.ended {
		start := len(x.input)
		if count > 0 && f.s.Split == sagemaker.SplitTypeLine {
			x.input = append(x.input, '\n') // only lines need something between them
		}
		record := len(x.input)
		if err := f.next(x); err != nil {
			return 0, err
		}
		if f.ended {
			x.input = x.input[:start]
			break
		}
		if count > 0 && len(x.input)-from > f.s.Fill {
			f.pending = append(f.pending, x.input[record:]...)
			x.input = x.input[:start]
			break
		}
		count++
		if f.s.Single {
			break
		}
	}
	return count, nil
}

// next appends the next record, or notes that there is none.
func (f *filler) next(x *exchange) error {
	if len(f.pending) > 0 {
		x.input, f.pending = append(x.input, f.pending...), f.pending[:0]
		return nil
	}
	binary := f.s.Split == sagemaker.SplitTypeRecordIO || f.s.Split == sagemaker.SplitTypeTFRecord
	next, err := f.records.next(x.input, f.s.Single || !binary, f.s.Most)
	switch {
	case errors.Is(err, io.EOF):
		f.ended = true
		return nil
	case err != nil:
		return err
	}
	x.input = next
	return nil
}

// give appends what the model is given of a payload's records.
func (f *filler) give(x *exchange, input []byte) (err error) {
	if !f.s.filters() {
		return nil
	}
	for i, record := range f.s.recordsOf(input) {
		if i > 0 {
			x.given = append(x.given, '\n')
		}
		if x.given, err = f.s.Processing.Give(x.given, record); err != nil {
			return platform.Errorf(platform.Invalid, "", "%w (record %s)", err, beginning(record))
		}
	}
	return nil
}

// filters says that the model is not given all of a record.
func (s *Sender) filters() bool { return s.Processing != nil && s.Processing.Filters() }

// asks says that the output is not the answers as they are.
func (s *Sender) asks() bool { return s.Processing != nil && s.Processing.Asks() }

// recordsOf are the records of a payload as filters and joins see them.
func (s *Sender) recordsOf(input []byte) [][]byte {
	if s.Processing.Lines() {
		return records.Lines(input)
	}
	return [][]byte{input}
}

// write puts the answers of an exchange into the output.
func (s *Sender) write(out io.Writer, x *exchange) error {
	if !s.asks() {
		_, err := out.Write(x.answers)
		return err
	}
	x.kept = x.kept[:0]
	for i := range x.parts {
		if err := s.keep(x, i); err != nil {
			return err
		}
	}
	_, err := out.Write(x.kept)
	return err
}

// keep appends what the output gets of a payload and its answer.
func (s *Sender) keep(x *exchange, i int) error {
	from, to := x.before(i), x.parts[i]
	given := s.recordsOf(x.input[from.input:to.input])
	answers, err := s.Processing.Answers(x.answers[from.answer:to.answer], len(given))
	if err != nil {
		return platform.Errorf(platform.Invalid, "", "%w", err)
	}
	for i, record := range given {
		if x.kept, err = s.Processing.Keep(x.kept, record, answers[i]); err != nil {
			return platform.Errorf(platform.Invalid, "", "%w (record %s)", err, beginning(record))
		}
		if s.Processing.Lines() || s.EndLines {
			x.kept = append(x.kept, '\n')
		}
	}
	return nil
}

// beginning is the first of a record, for people.
func beginning(record []byte) string {
	const most = 60
	if len(record) > most {
		return fmt.Sprintf("%q…", record[:most])
	}
	return fmt.Sprintf("%q", record)
}
