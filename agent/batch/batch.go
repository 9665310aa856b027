// Package batch takes objects apart into records, sends them to a model's container, and puts its answers together in their
// order: what is between an input object and its output in a batch transform. Reading, sending and writing go on at once, and
// the memory that they take does not depend on the size of an object.
//
// Where objects come from and go to, and what becomes of a job, is the agent's matter.
package batch

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/decide/records"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

const (
	firstPause = 100 * time.Millisecond // between the tries of a request
	lastPause  = 5 * time.Second
	// ahead is how much is read and answered beyond what is under way, as far as one payload allows.
	ahead = 32 << 20
)

// Sender sends the payloads of all objects over Concurrent connections.
type Sender struct {
	agent.Batches
	ctx   context.Context // its own life
	end   context.CancelCauseFunc
	conns []*connection
	work  chan *exchange // has room for all exchanges, so that nobody waits for somebody to take one
	free  chan *exchange // all exchanges that there are: what is in memory is bounded by them

	active sync.WaitGroup // calls of Object
}

// exchange is one payload, on its way there or back.
type exchange struct {
	ctx     context.Context // of its object
	input   []byte          // the records as they are
	count   int             // of them
	given   []byte          // what the model is given of them
	payload []byte          // what is sent: one of these two
	answer  []byte
	err     error
	done    chan struct{} // holds a token when it is answered
	in      io.Reader     // instead of a payload: an object that is streamed
	out     io.Writer
}

// NewSender makes a sender; Close must be called. When ctx ends, so does all that is under way.
func NewSender(ctx context.Context, p agent.Batches) *Sender {
	s := &Sender{Batches: p}
	s.ctx, s.end = context.WithCancelCause(ctx)
	extra := 1
	if p.Most > 0 {
		extra = min(max(ahead/p.Most, 1), 3*p.Concurrent)
	}
	s.free, s.work = make(chan *exchange, p.Concurrent+extra), make(chan *exchange, p.Concurrent+extra)
	for range cap(s.free) {
		s.free <- &exchange{done: make(chan struct{}, 1)}
	}
	head := "POST /invocations HTTP/1.1\r\nHost: " + p.Address + "\r\n"
	for _, h := range [][2]string{{"Content-Type", p.ContentType}, {"Accept", p.Accept}} {
		if h[1] != "" {
			head += h[0] + ": " + h[1] + "\r\n"
		}
	}
	for range p.Concurrent {
		c := &connection{address: p.Address, head: []byte(head), timeout: p.Timeout}
		s.conns = append(s.conns, c)
		go s.serve(c)
	}
	context.AfterFunc(s.ctx, func() {
		for _, c := range s.conns {
			c.close()
		}
	})
	return s
}

// Close ends the sender, and whatever is under way. Object is not called after it, nor Close again.
func (s *Sender) Close() {
	s.end(errors.New("the sender was closed"))
	s.active.Wait()
	close(s.work)
}

// serve answers exchanges over one connection until the sender is closed.
func (s *Sender) serve(c *connection) {
	for x := range s.work {
		x.err = s.send(c, x)
		x.done <- struct{}{}
	}
}

// send does one request, and again while it may do better.
func (s *Sender) send(c *connection, x *exchange) (err error) {
	pause := firstPause
	for try := 0; ; try++ {
		if x.ctx.Err() != nil {
			return context.Cause(x.ctx)
		}
		if s.ctx.Err() != nil {
			return context.Cause(s.ctx)
		}
		if x.in != nil { // what has been read of it is gone: its object is done again as a whole, or not
			return c.stream(s.ctx, x.in, x.out)
		}
		x.answer, err = c.post(s.ctx, x.payload, x.answer[:0])
		if err == nil || try >= s.Retries || !transient(err) || platform.KindOf(err) == platform.Invalid {
			return err
		}
		fired, stop := s.Clock.After(pause)
		select {
		case <-fired:
		case <-x.ctx.Done():
			stop()
			return context.Cause(x.ctx)
		case <-s.ctx.Done():
			stop()
			return context.Cause(s.ctx)
		}
		pause = min(2*pause, lastPause)
	}
}

var _ agent.Sender = (*Sender)(nil)

// Object implements agent.Sender.
func (s *Sender) Object(ctx context.Context, in io.Reader, out io.Writer) error {
	s.active.Add(1)
	defer s.active.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })()
	if s.Most == 0 {
		return s.streamed(ctx, in, out)
	}
	order := make(chan *exchange, cap(s.free)) // never full
	read := make(chan error, 1)
	go func() {
		defer close(order)
		read <- s.read(ctx, in, order)
	}()
	var failure error
	for x := range order {
		if err := s.settle(x, out, failure == nil); err != nil && failure == nil {
			failure = err
			cancel(err)
		}
	}
	if err := <-read; failure == nil {
		failure = err
	}
	return failure
}

// settle waits for an answer, writes it if that is wanted, and makes room for another.
func (s *Sender) settle(x *exchange, out io.Writer, wanted bool) error {
	<-x.done // a connection takes it, and answers even when it is closed
	err := x.err
	if err == nil && wanted {
		err = s.write(out, x)
	}
	x.err, x.in, x.out = nil, nil, nil
	s.free <- x
	return err
}

// read takes an object apart and sends it off, until ctx ends.
func (s *Sender) read(ctx context.Context, in io.Reader, order chan<- *exchange) error {
	from := &filler{s: s, records: readerOf(s.Split, in)}
	for {
		var x *exchange
		select {
		case x = <-s.free:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		x.ctx = ctx
		if err := from.fill(x); err != nil || x.count == 0 {
			s.free <- x
			return err
		}
		s.work <- x // which has room, as have those who wait for the answer
		order <- x
	}
}

// streamed sends an object as one request while it is read. An empty one holds no record to send.
func (s *Sender) streamed(ctx context.Context, from io.Reader, out io.Writer) error {
	in := bufio.NewReaderSize(from, readAhead)
	if _, err := in.Peek(1); err != nil {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return err
	}
	var x *exchange
	select {
	case x = <-s.free:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	ending := &lineEnder{out: out}
	x.ctx, x.in, x.out = ctx, in, ending
	s.work <- x
	err := s.settle(x, nil, false)
	if err == nil && s.EndLines && ending.last != '\n' {
		_, err = out.Write([]byte{'\n'})
	}
	return err
}

// lineEnder remembers the last byte that was written.
type lineEnder struct {
	out  io.Writer
	last byte
}

func (l *lineEnder) Write(p []byte) (int, error) {
	if len(p) > 0 {
		l.last = p[len(p)-1]
	}
	return l.out.Write(p)
}

// filler fills payloads from an object.
type filler struct {
	s       *Sender
	records recordReader
	pending []byte // a record that did not fit into the last payload
	ended   bool
}

// fill makes the next payload; one without records is the end.
func (f *filler) fill(x *exchange) error {
	x.input, x.count = x.input[:0], 0
	for !f.ended {
		start := len(x.input)
		if start > 0 && f.s.Split == sagemaker.SplitTypeLine {
			x.input = append(x.input, '\n') // only lines need something between them
		}
		record := len(x.input)
		if err := f.next(x); err != nil {
			return err
		}
		if f.ended {
			x.input = x.input[:start]
			break
		}
		if start > 0 && len(x.input) > f.s.Fill {
			f.pending = append(f.pending, x.input[record:]...)
			x.input = x.input[:start]
			break
		}
		x.count++
		if f.s.Single {
			break
		}
	}
	return f.process(x)
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

// process makes the payload of what was read.
func (f *filler) process(x *exchange) (err error) {
	p := f.s.Processing
	if p == nil || x.count == 0 || !p.Filters() {
		x.payload = x.input
		return nil
	}
	x.given = x.given[:0]
	for i, record := range f.s.recordsOf(x) {
		if i > 0 {
			x.given = append(x.given, '\n')
		}
		if x.given, err = p.Give(x.given, record); err != nil {
			return platform.Errorf(platform.Invalid, "", "%w (record %s)", err, beginning(record))
		}
	}
	x.payload = x.given
	return nil
}

// recordsOf are the records of a payload as filters and joins see them.
func (s *Sender) recordsOf(x *exchange) [][]byte {
	if s.Processing.Lines() {
		return records.Lines(x.input)
	}
	return [][]byte{x.input}
}

// write puts an answer into the output.
func (s *Sender) write(out io.Writer, x *exchange) error {
	if s.Processing == nil || !s.Processing.Asks() {
		return s.writeLine(out, x.answer, s.EndLines)
	}
	given := s.recordsOf(x)
	answers, err := s.Processing.Answers(x.answer, len(given))
	if err != nil {
		return platform.Errorf(platform.Invalid, "", "%w", err)
	}
	var kept []byte
	for i, record := range given {
		if kept, err = s.Processing.Keep(kept, record, answers[i]); err != nil {
			return platform.Errorf(platform.Invalid, "", "%w (record %s)", err, beginning(record))
		}
		if s.Processing.Lines() || s.EndLines {
			kept = append(kept, '\n')
		}
	}
	_, err = out.Write(kept)
	return err
}

// writeLine writes an answer as it is, and ends its line if that is wanted and it has not.
func (s *Sender) writeLine(out io.Writer, answer []byte, end bool) error {
	if _, err := out.Write(answer); err != nil {
		return err
	}
	if !end || bytes.HasSuffix(answer, []byte{'\n'}) {
		return nil
	}
	_, err := out.Write([]byte{'\n'})
	return err
}

// beginning is the first of a record, for people.
func beginning(record []byte) string {
	const most = 60
	if len(record) > most {
		return fmt.Sprintf("%q…", record[:most])
	}
	return fmt.Sprintf("%q", record)
}
