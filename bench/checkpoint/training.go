package main

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// train is the training that the sync must not slow down: steps of arithmetic on a matrix, each with a batch read from a data file
// at random places, and a checkpoint every so often, renamed into place. It runs in a process of its own, and prints how long its
// steps took all together, without the writing of checkpoints, which is the same with and without sync but for what the disk
// has to do besides.
func train(dir, data string, steps int, checkpoint int64) error {
	in, err := os.Open(data)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	chance := rand.NewChaCha8([32]byte{3})
	pick := rand.New(chance)
	batch := make([]byte, 256<<10)
	const n = 192
	a, b, c := matrix(n), matrix(n), matrix(n)
	began := time.Now()
	for step := range steps {
		for range 4 {
			if _, err := in.ReadAt(batch, pick.Int64N(info.Size()-int64(len(batch)))); err != nil {
				return err
			}
		}
		a[0] = float64(batch[0])
		multiply(a, b, c, n)
		if step%(steps/4) == steps/8 {
			name := filepath.Join(dir, "last.pt")
			if err := writeFile(name+".tmp", checkpoint, chance); err != nil {
				return err
			}
			if err := os.Rename(name+".tmp", name); err != nil {
				return err
			}
		}
	}
	fmt.Println(time.Since(began).Nanoseconds())
	return nil
}

func matrix(n int) []float64 {
	m := make([]float64, n*n)
	for i := range m {
		m[i] = float64(i%7) / 7
	}
	return m
}

func multiply(a, b, c []float64, n int) {
	for i := range n {
		for k := range n {
			x := a[i*n+k]
			for j := range n {
				c[i*n+j] += x * b[k*n+j]
			}
		}
	}
}

// training runs train in a process of its own.
func training(ctx context.Context, dir, data string, steps int, checkpoint int64) (time.Duration, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, self, "-train", dir, "-data", data, "-steps", strconv.Itoa(steps), "-checkpoint", strconv.FormatInt(checkpoint, 10))
	cmd.Stderr = os.Stderr
	// As many processors as a training has beside its loader.
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	line, readErr := bufio.NewReader(out).ReadString('\n')
	if err := cmd.Wait(); err != nil {
		return 0, fmt.Errorf("the training: %w", err)
	}
	if readErr != nil {
		return 0, readErr
	}
	var took int64
	if _, err := fmt.Sscan(line, &took); err != nil {
		return 0, err
	}
	return time.Duration(took), nil
}
