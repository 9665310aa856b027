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
	"io"
	"sync"
	"time"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/platform"
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
	pace  pace

	active sync.WaitGroup // calls of Object
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
	defer c.drop()
	for x := range s.work {
		began := s.Clock.Now()
		x.err = s.answer(c, x)
		s.pace.note(len(x.parts), s.Clock.Now().Sub(began))
		x.done <- struct{}{}
	}
}

// answer has all payloads of an exchange answered.
func (s *Sender) answer(c *connection, x *exchange) error {
	if x.in != nil { // what has been read of it is gone: its object is done again as a whole, or not
		if err := s.over(x); err != nil {
			return err
		}
		return c.stream(s.ctx, x.in, x.out)
	}
	for i := range x.parts {
		start := len(x.answers)
		if err := s.send(c, x, s.payload(x, i)); err != nil {
			return err
		}
		if s.EndLines && !s.asks() && !bytes.HasSuffix(x.answers[start:], []byte{'\n'}) {
			x.answers = append(x.answers, '\n')
		}
		x.parts[i].answer = len(x.answers)
	}
	return nil
}

// over tells why nothing is to be sent any more of an exchange.
func (s *Sender) over(x *exchange) error {
	if x.ctx.Err() != nil {
		return context.Cause(x.ctx)
	}
	return context.Cause(s.ctx)
}

// send does one request, and again while it may do better, and appends the answer.
func (s *Sender) send(c *connection, x *exchange, payload []byte) error {
	pause := firstPause
	for try := 0; ; try++ {
		if err := s.over(x); err != nil {
			return err
		}
		answers, err := c.post(s.ctx, payload, x.answers)
		x.answers = answers
		if err == nil || try >= s.Retries || !transient(err) || platform.KindOf(err) == platform.Invalid {
			return err
		}
		fired, stop := s.Clock.After(pause)
		select {
		case <-fired:
		case <-x.ctx.Done():
			stop()
		case <-s.ctx.Done():
			stop()
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
		if err := from.fill(x, s.pace.payloads()); err != nil || len(x.parts) == 0 {
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
	x.parts = x.parts[:0]
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
