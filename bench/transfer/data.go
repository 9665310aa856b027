package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// dataset is the files of a folder, which are all of one size.
type dataset struct {
	name  string
	files int
	bytes int64 // of each
	fill  func(w io.Writer, bytes int64, chance *rand.ChaCha8) error
}

func (d dataset) total() int64 { return int64(d.files) * d.bytes }

func (d dataset) String() string {
	unit, size := "KiB", d.bytes>>10
	if d.bytes >= 1<<30 && d.bytes%(1<<30) == 0 {
		unit, size = "GiB", d.bytes>>30
	} else if d.bytes >= 1<<20 {
		unit, size = "MiB", d.bytes>>20
	}
	return fmt.Sprintf("%d × %d %s of %s", d.files, size, unit, d.name)
}

// write makes the folder.
func (d dataset) write(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	chance := rand.NewChaCha8([32]byte{1}) // the same data in each run
	for i := range d.files {
		f, err := os.Create(filepath.Join(folder, fmt.Sprintf("part-%05d", i)))
		if err != nil {
			return err
		}
		w := bufio.NewWriterSize(f, 1<<20)
		if err = d.fill(w, d.bytes, chance); err == nil {
			err = w.Flush()
		}
		if closed := f.Close(); err == nil {
			err = closed
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// randomBytes shrink under no compressor.
func randomBytes(w io.Writer, bytes int64, chance *rand.ChaCha8) error {
	_, err := io.CopyN(w, chance, bytes)
	return err
}

// weights are float32 of a normal distribution, as layers are initialised and, nearly, as they stay. They shrink by some percent.
func weights(w io.Writer, bytes int64, chance *rand.ChaCha8) error {
	normal := rand.New(chance)
	// A stretch that is longer than any compressor looks back, again and again: drawing each number would take minutes.
	stretch := make([]byte, min(bytes, 64<<20))
	for i := 0; i+4 <= len(stretch); i += 4 {
		binary.LittleEndian.PutUint32(stretch[i:], math.Float32bits(float32(normal.NormFloat64()*0.02)))
	}
	for bytes > 0 {
		n, err := w.Write(stretch[:min(bytes, int64(len(stretch)))])
		if err != nil {
			return err
		}
		bytes -= int64(n)
	}
	return nil
}
