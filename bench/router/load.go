package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stint-ml/stint/bench/rig"
)

// load is requests that one thread sends and whose answers it awaits, on a number of connections. All of them are the same
// bytes, signed beforehand: on a small machine, what the client uses the server lacks.
type load struct {
	address     string
	request     []byte
	connections int
	// rate is requests a second, sent when they are due whether or not the ones before have been answered; the time of each
	// is counted from when it was due, so that a server that stalls is charged with all who wait. 0 sends again on each connection
	// as soon as it has its answer.
	rate   int
	during time.Duration
}

// outcome is what a load has seen.
type outcome struct {
	took rig.Durations // by each request
	wall time.Duration
	cpu  time.Duration // of this process
}

func (o outcome) rate() float64 { return float64(len(o.took)) / o.wall.Seconds() }

// connection is one of a load's.
type connection struct {
	fd     int
	due    time.Time // of the request under way
	answer []byte    // as far as it has come
}

// run sends the load. The thread sleeps between events: a client that polls would take a core from the server.
func (l load) run(ctx context.Context) (outcome, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r := &running{load: l, byFD: map[int32]*connection{}, buffer: make([]byte, 64<<10)}
	defer r.close()
	if err := r.open(); err != nil {
		return outcome{}, err
	}
	var before, after unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &before); err != nil {
		return outcome{}, err
	}
	began := time.Now()
	if err := r.loop(ctx, began); err != nil {
		return outcome{}, err
	}
	wall := time.Since(began)
	if err := unix.Getrusage(unix.RUSAGE_SELF, &after); err != nil {
		return outcome{}, err
	}
	used := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	return outcome{took: r.took, wall: wall, cpu: time.Duration(used)}, nil
}

// running is a load under way.
type running struct {
	load
	epoll, timer int
	byFD         map[int32]*connection
	idle         []*connection
	due          time.Time // the next request, at a rate
	took         rig.Durations
	buffer       []byte
}

// open connects, and arms a timer that ticks when requests are due.
func (r *running) open() (err error) {
	if r.epoll, err = unix.EpollCreate1(0); err != nil {
		return err
	}
	watch := func(fd int) error {
		return unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}) //nolint:gosec // a descriptor
	}
	for range r.connections {
		c, err := connect(r.address)
		if err != nil {
			return err
		}
		r.byFD[int32(c.fd)] = c //nolint:gosec // a descriptor
		r.idle = append(r.idle, c)
		if err := watch(c.fd); err != nil {
			return err
		}
	}
	r.took = make(rig.Durations, 0, 1<<20)
	if r.rate == 0 {
		return nil
	}
	if r.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK); err != nil {
		return err
	}
	each := unix.NsecToTimespec(int64(time.Second) / int64(r.rate))
	if err := unix.TimerfdSettime(r.timer, 0, &unix.ItimerSpec{Interval: each, Value: each}, nil); err != nil {
		return err
	}
	return watch(r.timer)
}

func (r *running) close() {
	for _, c := range r.byFD {
		_ = unix.Close(c.fd) // of a socket that nobody uses any more
	}
	for _, fd := range []int{r.epoll, r.timer} {
		if fd > 0 {
			_ = unix.Close(fd)
		}
	}
}

func connect(address string) (*connection, error) {
	to, err := net.ResolveTCPAddr("tcp4", address)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	where := &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}
	err = errors.Join(unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1), unix.Connect(fd, where))
	return &connection{fd: fd}, err
}

// loop is the life of a load.
func (r *running) loop(ctx context.Context, began time.Time) error {
	events := make([]unix.EpollEvent, 256)
	r.due = began
	end := began.Add(r.during)
	for {
		// 1. Send what is due. What finds no idle connection waits, and its time runs.
		now := time.Now()
		if now.Before(end) && ctx.Err() == nil {
			if err := r.sendDue(now); err != nil {
				return err
			}
		} else if len(r.idle) == len(r.byFD) {
			return context.Cause(ctx)
		}
		// 2. Sleep until an answer comes or a request is due.
		n, err := unix.EpollWait(r.epoll, events, 5000)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case n == 0:
			return fmt.Errorf("no answer of %s within 5 s", r.address)
		}
		// 3. Take the answers.
		for _, e := range events[:n] {
			if err := r.receive(e.Fd); err != nil {
				return err
			}
		}
	}
}

// sendDue sends all that is due now, as far as there are idle connections.
func (r *running) sendDue(now time.Time) error {
	for len(r.idle) > 0 {
		at := now
		if r.rate > 0 {
			if at = r.due; at.After(now) {
				return nil
			}
			r.due = at.Add(time.Second / time.Duration(r.rate))
		}
		if err := r.send(at); err != nil {
			return err
		}
	}
	return nil
}

func (r *running) send(due time.Time) error {
	c := r.idle[0] // in turn, so that none comes to idle for longer than the server allows
	r.idle = append(r.idle[:0], r.idle[1:]...)
	c.due, c.answer = due, c.answer[:0]
	n, err := unix.Write(c.fd, r.request)
	if err == nil && n < len(r.request) {
		err = errors.New("a request does not fit into the socket's buffer")
	}
	return err
}

// receive takes what has come at a descriptor.
func (r *running) receive(fd int32) error {
	n, err := unix.Read(int(fd), r.buffer)
	c := r.byFD[fd]
	if c == nil { // the timer, which only rings
		return nil
	}
	if err != nil {
		return err
	}
	if n == 0 {
		return fmt.Errorf("%s has closed a connection after %d answers: %.300s", r.address, len(r.took), c.answer)
	}
	c.answer = append(c.answer, r.buffer[:n]...)
	whole, err := isWhole(c.answer)
	if whole {
		r.took = append(r.took, time.Since(c.due))
		r.idle = append(r.idle, c)
	}
	return err
}

// isWhole says whether an answer has come to its end. One that is no success is an error.
func isWhole(answer []byte) (bool, error) {
	header, body, found := bytes.Cut(answer, []byte("\r\n\r\n"))
	if !found {
		return false, nil
	}
	if !bytes.HasPrefix(header, []byte("HTTP/1.1 200 ")) {
		return false, fmt.Errorf("the server answered %.500s", answer)
	}
	for line := range bytes.Lines(header) {
		if name, value, _ := bytes.Cut(line, []byte(":")); bytes.EqualFold(name, []byte("Content-Length")) {
			length, err := strconv.Atoi(string(bytes.TrimSpace(value)))
			return len(body) >= length, err
		}
	}
	return false, fmt.Errorf("an answer without a length: %s", header)
}
