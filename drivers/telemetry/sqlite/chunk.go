package sqlite

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/stint-ml/stint/drivers/telemetry"
	"github.com/stint-ml/stint/platform"
)

// A chunk's blob is, compressed by zstd: the number of events; for each the difference of its timestamp and of its time
// of ingestion from those of the event before, and the length of its message, all as varints; then all messages.
//
// A chunk is at most so long, so that a page anywhere in a stream costs little more than the page. It covers less than
// an hour, so that a look for a time need not go back further, and retention takes events at most that much too late.
const (
	chunkEvents = 2000
	chunkBytes  = 256 << 10 // of messages; a longer message has a chunk of its own
	chunkSpan   = int64(time.Hour / time.Millisecond)
)

// A chunk smaller than this takes up what is appended next: else a job that prints a line now and then would have a row
// for each. The price is that it is written again each time.
const (
	smallEvents = 256
	smallBytes  = 32 << 10
)

// event is one event of a chunk, with times in milliseconds.
type event struct {
	at, ingested int64
	message      string
}

// chunk is a run of a stream's events.
type chunk struct {
	events         []event
	oldest, newest int64
	bytes          int // of messages
}

// takes reports whether the event may join the chunk within the given size.
func (c *chunk) takes(e event, events, bytes int) bool {
	return len(c.events) == 0 || len(c.events) < events && c.bytes+len(e.message) <= bytes &&
		max(c.newest, e.at)-min(c.oldest, e.at) < chunkSpan
}

func (c *chunk) add(e event) {
	if len(c.events) == 0 {
		c.oldest, c.newest = e.at, e.at
	}
	c.oldest, c.newest = min(c.oldest, e.at), max(c.newest, e.at)
	c.bytes += len(e.message)
	c.events = append(c.events, e)
}

// stored is the chunk's share of StoredBytes.
func (c *chunk) stored() int64 {
	return int64(c.bytes) + int64(len(c.events))*telemetry.EventOverhead
}

// chunksOf divides a batch.
func chunksOf(events []platform.LogEvent, ingested int64) (chunks []*chunk) {
	var last *chunk
	for _, le := range events {
		e := event{at: le.Timestamp.UnixMilli(), ingested: ingested, message: le.Message}
		if last == nil || !last.takes(e, chunkEvents, chunkBytes) {
			last = &chunk{events: make([]event, 0, min(len(events), chunkEvents))}
			chunks = append(chunks, last)
		}
		last.add(e)
	}
	return chunks
}

// codec writes and reads blobs. Its methods are safe for concurrent use.
type codec struct {
	compress *zstd.Encoder
	expand   *zstd.Decoder
}

// newCodec keeps what it holds on to small: an idle server has little memory to spare for logs.
func newCodec() (*codec, error) {
	compress, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2),
		zstd.WithWindowSize(chunkBytes), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(true))
	if err != nil {
		return nil, err
	}
	expand, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderLowmem(true))
	return &codec{compress, expand}, err
}

func (k *codec) encode(c *chunk) []byte {
	raw := binary.AppendUvarint(make([]byte, 0, c.bytes+8*len(c.events)+8), uint64(len(c.events)))
	var before event
	for _, e := range c.events {
		raw = binary.AppendVarint(raw, e.at-before.at)
		raw = binary.AppendVarint(raw, e.ingested-before.ingested)
		raw = binary.AppendUvarint(raw, uint64(len(e.message)))
		before = e
	}
	for _, e := range c.events {
		raw = append(raw, e.message...)
	}
	return k.compress.EncodeAll(raw, make([]byte, 0, len(raw)/4))
}

var errDamaged = errors.New("a chunk of log events is damaged")

// decode gives the events; their messages share one piece of memory.
func (k *codec) decode(blob []byte) (*chunk, error) {
	raw, err := k.expand.DecodeAll(blob, nil)
	if err != nil {
		return nil, errors.Join(errDamaged, err)
	}
	n, size := binary.Uvarint(raw)
	if size <= 0 || n > uint64(len(raw)) {
		return nil, errDamaged
	}
	raw = raw[size:]
	lengths := make([]int, n)
	c := &chunk{events: make([]event, n)}
	var before event
	for i := range c.events {
		at, a := binary.Varint(raw)
		ingested, b := binary.Varint(raw[max(a, 0):])
		length, l := binary.Uvarint(raw[max(a, 0)+max(b, 0):])
		if a <= 0 || b <= 0 || l <= 0 {
			return nil, errDamaged
		}
		raw = raw[a+b+l:]
		before = event{at: before.at + at, ingested: before.ingested + ingested}
		c.events[i], lengths[i] = before, int(length)
	}
	return c, c.share(string(raw), lengths)
}

// share gives each event its part of the messages, and the chunk its bounds.
func (c *chunk) share(messages string, lengths []int) error {
	events := c.events
	c.events = c.events[:0]
	for i, e := range events {
		if lengths[i] < 0 || lengths[i] > len(messages) {
			return errDamaged
		}
		e.message, messages = messages[:lengths[i]], messages[lengths[i]:]
		c.add(e)
	}
	return nil
}
