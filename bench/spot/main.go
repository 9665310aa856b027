// Command spot plays the policies of decide/spot, and the exact optimum, against recorded spot availability with exact
// accounting: the public leaderboard's 1,080 runs, and all 2,400 windows of the record. Stint's own policy plays with what
// other environments teach about pools: no figure counts for which the environment under test was fitted to.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/stint-ml/stint/bench/rig"
	"github.com/stint-ml/stint/decide/spot"
)

// Prices of the leaderboard, in dollars an hour, and the work of its jobs.
const (
	demandPrice = 3.06
	spotPrice   = 0.9731
	work        = 48 * time.Hour
	tick        = 600 * time.Second
)

func main() {
	short := flag.Bool("short", false, "only the 1,080 runs of the headline benchmark")
	fitOnly := flag.Bool("fit", false, "only print what all environments together teach (decide/spot.BuiltIn)")
	flag.Parse()
	if err := run(*short, *fitOnly); err != nil {
		fmt.Fprintln(os.Stderr, "spot:", err)
		os.Exit(1)
	}
}

func run(short, fitOnly bool) error {
	folder := os.Getenv("STINT_DATA")
	if folder == "" {
		return fmt.Errorf("STINT_DATA is not set: it must name the folder that holds spot/windows-2022.txt.gz, " +
			"the AWS spot availability of 2022 with lines of \"environment window gap_seconds bits\"")
	}
	record, err := readRecord(filepath.Join(folder, "spot", "windows-2022.txt.gz"))
	if err != nil {
		return err
	}
	if fitOnly {
		fmt.Printf("%+v\n", fit(record, record.environments))
		return nil
	}
	report, err := rig.NewReport("spot", os.TempDir())
	if err != nil {
		return err
	}
	if err := headline(record, report); err != nil {
		return err
	}
	if !short {
		if err := wide(record, report); err != nil {
			return err
		}
	}
	return report.Finish()
}

// job of the benchmark.
func job(deadline, changeover time.Duration) spot.Job {
	return spot.Job{Work: work, Deadline: deadline, Changeover: changeover, Tick: tick, PriceRatio: demandPrice / spotPrice}
}
