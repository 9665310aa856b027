package agent

import (
	"bytes"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/stint-ml/stint/platform"
)

const (
	eventBytes    = 256<<10 - 26 // the longest message of one log event, as CloudWatch counts
	progressEvery = time.Second  // how often the state of a progress bar becomes an event
)

// splitter makes log events of a stream of bytes.
//
// A line is an event; a line longer than eventBytes becomes several, cut between characters. What is not UTF-8 is replaced by
// U+FFFD. A carriage return inside a line is how a progress bar draws over itself: of the states drawn, one a second and the
// last become events. A line that has not ended waits for its end, except for such a state, which is shown after a second.
type splitter struct {
	held   []byte    // of the line that has not ended, since its last carriage return
	bar    bool      // the line has been drawn over
	shown  time.Time // when its last state became an event
	fresh  bool      // held has something that was not shown
	events []platform.LogEvent
	bytes  int // of events
}

// feed takes what was read at a time.
func (s *splitter) feed(data []byte, now time.Time) {
	for len(data) > 0 {
		end := bytes.IndexByte(data, '\n')
		line := data
		if end >= 0 {
			line, data = data[:end], data[end+1:]
		} else {
			data = nil
		}
		s.part(line, now)
		if end >= 0 {
			s.endLine(now)
		}
	}
}

// part takes a stretch of one line.
func (s *splitter) part(line []byte, now time.Time) {
	for {
		cr := bytes.IndexByte(line, '\r')
		if cr < 0 {
			break
		}
		s.hold(line[:cr], now)
		line = line[cr+1:]
		// The end of a DOS line and the beginning of a bar look alike here: what is held stays, until something is drawn
		// over it.
		s.held = append(s.held, '\r')
	}
	s.hold(line, now)
}

// hold adds text to the line, over what was there if a carriage return went before.
func (s *splitter) hold(text []byte, now time.Time) {
	if len(text) == 0 {
		return
	}
	if n := len(s.held); n > 0 && s.held[n-1] == '\r' {
		s.show(now)
		s.held, s.bar = s.held[:0], true
	}
	s.held, s.fresh = append(s.held, text...), true
	for len(s.held) > eventBytes {
		n := cutPoint(s.held, eventBytes)
		s.emit(s.held[:n], now)
		s.held = append(s.held[:0], s.held[n:]...)
	}
}

// endLine makes the event of a line, unless all of it was shown as the state of a bar.
func (s *splitter) endLine(now time.Time) {
	if !s.bar || s.fresh {
		s.emit(bytes.TrimRight(s.held, "\r"), now)
	}
	s.held, s.bar, s.fresh, s.shown = s.held[:0], false, false, time.Time{}
}

// due is when the state of a bar is to be shown although its line has not ended; zero when nothing waits.
func (s *splitter) due(now time.Time) time.Time {
	if !s.bar || !s.fresh {
		return time.Time{}
	}
	if s.shown.IsZero() {
		s.shown = now
	}
	return s.shown.Add(progressEvery)
}

// show makes an event of the state of a bar that is due.
func (s *splitter) show(now time.Time) {
	if due := s.due(now); due.IsZero() || now.Before(due) {
		return
	}
	if state := bytes.TrimRight(s.held, "\r"); len(state) > 0 {
		s.emit(state, now)
	}
	s.shown, s.fresh = now, false
}

// finish makes an event of what is left at the end of the stream.
func (s *splitter) finish(now time.Time) {
	if len(bytes.TrimRight(s.held, "\r")) > 0 {
		s.endLine(now)
	}
}

func (s *splitter) emit(text []byte, now time.Time) {
	message := string(text)
	if !utf8.ValidString(message) {
		message = strings.ToValidUTF8(message, "\uFFFD")
	}
	// Replacing lengthens: a line of nothing but stray bytes may have become three times as long.
	for len(message) > eventBytes {
		n := cutPoint([]byte(message), eventBytes)
		s.add(message[:n], now)
		message = message[n:]
	}
	s.add(message, now)
}

func (s *splitter) add(message string, now time.Time) {
	s.events = append(s.events, platform.LogEvent{Timestamp: now, Message: message})
	s.bytes += len(message)
}

// take hands over the events made so far.
func (s *splitter) take() []platform.LogEvent {
	events := s.events
	s.events, s.bytes = nil, 0
	return events
}

// cutPoint is the largest length of at most n that does not part a character.
func cutPoint(text []byte, n int) int {
	for back := 0; back < utf8.UTFMax && back < n; back++ {
		if utf8.RuneStart(text[n-back]) {
			return n - back
		}
	}
	return n
}
