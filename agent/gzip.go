package agent

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/flate"
)

const (
	blockBytes  = 1 << 20  // compressed by one worker at a time
	sampleBytes = 16 << 10 // of a block, to see whether compressing it is worth the time
	storedBytes = 0xffff   // the longest stored deflate block
	worthwhile  = 0.85     // of its size a sample must shrink to, else its block is stored as it is
)

// gzipReader reads a stream compressed as one gzip member (RFC 1952). Blocks are compressed in parallel at the fastest level,
// each ended by a flush so that they can be joined. A block whose samples do not shrink, as those of most models do not, is
// stored: compressing it would cost more time than sending it.
type gzipReader struct {
	source  io.Reader
	blocks  chan chan []byte // in order; closed at the end of the source
	failed  error            // of the source; read after blocks is closed
	current []byte
	done    chan struct{} // closed when the reader is not wanted any more
	once    sync.Once
	crc     uint32
	size    uint32
	ended   bool
}

// newGzipReader begins to compress source. close must be called.
func newGzipReader(source io.Reader) *gzipReader {
	workers := runtime.GOMAXPROCS(0)
	z := &gzipReader{source: source, blocks: make(chan chan []byte, workers), done: make(chan struct{})}
	z.current = []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255} // deflate, no time, unknown system
	go z.compress()
	return z
}

// compress cuts the source into blocks. At most as many as fit the channel wait to be read.
func (z *gzipReader) compress() {
	defer close(z.blocks)
	for {
		block := make([]byte, blockBytes)
		n, err := io.ReadFull(z.source, block)
		if n > 0 {
			block = block[:n]
			z.crc = crc32.Update(z.crc, crc32.IEEETable, block)
			z.size += uint32(n)
			result := make(chan []byte, 1)
			select {
			case z.blocks <- result:
			case <-z.done:
				return
			}
			go func() { result <- deflateBlock(block) }()
		}
		if err != nil {
			if err != io.EOF && err != io.ErrUnexpectedEOF {
				z.failed = err
			}
			return
		}
	}
}

func (z *gzipReader) Read(p []byte) (int, error) {
	for len(z.current) == 0 {
		if z.ended {
			return 0, io.EOF
		}
		result, more := <-z.blocks
		switch {
		case more:
			z.current = <-result
		case z.failed != nil:
			return 0, z.failed
		default:
			z.ended = true
			z.current = []byte{1, 0, 0, 0xff, 0xff} // an empty last block
			z.current = binary.LittleEndian.AppendUint32(z.current, z.crc)
			z.current = binary.LittleEndian.AppendUint32(z.current, z.size)
		}
	}
	n := copy(p, z.current)
	z.current = z.current[n:]
	return n, nil
}

// close ends the compression, wherever it is.
func (z *gzipReader) close() { z.once.Do(func() { close(z.done) }) }

var deflaters = sync.Pool{New: func() any {
	w, err := flate.NewWriter(io.Discard, flate.BestSpeed)
	if err != nil {
		panic(err) // the level is a constant
	}
	return w
}}

// deflateBlock gives whole deflate blocks for data, none of them the last.
func deflateBlock(data []byte) []byte {
	if !compressible(data) {
		return storeBlock(data)
	}
	packed := deflate(data)
	if len(packed) >= len(data) {
		return storeBlock(data)
	}
	return packed
}

func deflate(data []byte) []byte {
	out := bytes.NewBuffer(make([]byte, 0, len(data)/2))
	w := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	w.Reset(out)
	_, _ = w.Write(data) // a bytes.Buffer takes everything
	_ = w.Flush()
	return out.Bytes()
}

// compressible tries the beginning and the middle of a block.
func compressible(data []byte) bool {
	for _, at := range []int{0, len(data) / 2} {
		sample := data[at:min(len(data), at+sampleBytes)]
		if float64(len(deflate(sample))) < worthwhile*float64(len(sample)) {
			return true
		}
	}
	return len(data) < sampleBytes
}

// storeBlock frames data as stored blocks.
func storeBlock(data []byte) []byte {
	out := make([]byte, 0, len(data)+5*(len(data)/storedBytes+1))
	for len(data) > 0 {
		n := min(len(data), storedBytes)
		out = append(out, 0, byte(n), byte(n>>8), ^byte(n), ^byte(n>>8))
		out = append(out, data[:n]...)
		data = data[n:]
	}
	return out
}
