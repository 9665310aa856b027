package main

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// folder is a checkpoint folder of files of one size, random bytes all of them.
type folder struct {
	part  string // as -only calls it
	name  string
	files int
	bytes int64 // of each
}

func (f folder) total() int64 { return int64(f.files) * f.bytes }

func (f folder) String() string {
	unit, size := "KiB", f.bytes>>10
	if f.bytes >= 1<<20 {
		unit, size = "MiB", f.bytes>>20
	}
	return fmt.Sprintf("%d × %d %s", f.files, size, unit)
}

func (f folder) path(dir string, i int) string {
	return filepath.Join(dir, fmt.Sprintf("part-%03d", i/100), fmt.Sprintf("shard-%05d.bin", i))
}

// write makes the folder.
func (f folder) write(dir string) error {
	chance := rand.NewChaCha8([32]byte{1})
	for i := range f.files {
		path := f.path(dir, i)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := writeFile(path, f.bytes, chance); err != nil {
			return err
		}
	}
	return nil
}

func writeFile(path string, bytes int64, chance io.Reader) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	w := bufio.NewWriterSize(out, 1<<20)
	if _, err := io.CopyN(w, chance, bytes); err != nil {
		return err
	}
	return w.Flush()
}

// change writes one percent of the folder's bytes anew: of many files one in a hundred, of few a stretch of each at a place that
// fits no border.
func (f folder) change(dir string) error {
	chance := rand.NewChaCha8([32]byte{2})
	if f.files >= 100 {
		for i := 0; i < f.files; i += 100 {
			if err := writeFile(f.path(dir, i), f.bytes, chance); err != nil {
				return err
			}
		}
		return nil
	}
	for i := range f.files {
		out, err := os.OpenFile(f.path(dir, i), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		stretch := make([]byte, f.bytes/100)
		_, _ = chance.Read(stretch) // it always gives all
		at := rand.New(chance).Int64N(f.bytes - int64(len(stretch)))
		_, err = out.WriteAt(stretch, at)
		out.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// each calls do for every file below a folder, with its path there.
func each(dir string, do func(name string) error) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return do(name)
	})
}

// same compares two folders byte by byte.
func same(a, b string) error {
	files := 0
	err := each(a, func(name string) error {
		files++
		return sameFile(filepath.Join(a, name), filepath.Join(b, name))
	})
	if err != nil {
		return err
	}
	return each(b, func(string) error {
		if files--; files < 0 {
			return fmt.Errorf("%s has more files than %s", b, a)
		}
		return nil
	})
}

func sameFile(a, b string) error {
	one, err := os.Open(a)
	if err != nil {
		return err
	}
	defer one.Close()
	two, err := os.Open(b)
	if err != nil {
		return err
	}
	defer two.Close()
	mine, theirs := make([]byte, 1<<20), make([]byte, 1<<20)
	for {
		n, errA := io.ReadFull(one, mine)
		m, errB := io.ReadFull(two, theirs)
		if n != m || string(mine[:n]) != string(theirs[:m]) {
			return fmt.Errorf("%s is not %s", b, a)
		}
		if errA != nil || errB != nil {
			return nil // the end: a shorter one would have differed
		}
	}
}
