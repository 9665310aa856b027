package rig

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Main runs a benchmark, or a part that it plays itself, to its end. What breaks it off, an interrupt among it, is told, and the
// process ends with 1.
func Main(name string, run func(ctx context.Context) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(1) //nolint:gocritic // what stop gives back goes with the process
	}
}

// Measure is Main for a benchmark that has a folder for itself, which goes at the end, and a report, which measure fills.
func Measure(name string, measure func(ctx context.Context, work string, report *Report) error) {
	Main(name, func(ctx context.Context) error {
		work, err := workFolder(name)
		if err != nil {
			return err
		}
		defer os.RemoveAll(work) //nolint:errcheck // what is left is only disk
		report, err := NewReport(name, work)
		if err != nil {
			return err
		}
		if err := measure(ctx, work, report); err != nil {
			return err
		}
		return report.Finish()
	})
}
