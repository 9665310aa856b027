package main

import (
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/stint-ml/stint/bench/rig"
	"github.com/stint-ml/stint/decide/spot"
)

// The leaderboard's environments, deadlines and changeovers.
var (
	scored = []string{
		"us-west-2a_k80_8", "us-west-2b_k80_1", "us-west-2b_k80_8", "us-west-2a_v100_1", "us-west-2a_v100_8", "us-west-2b_v100_1",
	}
	deadlines   = []time.Duration{52 * time.Hour, 70 * time.Hour}
	changeovers = []time.Duration{72 * time.Second, 180 * time.Second, 360 * time.Second}
)

// best is the best published score.
const best = 51.7

// score is 0 for on-demand all along and 100 for spot all along.
func score(cost float64) float64 {
	all, least := work.Hours()*demandPrice, work.Hours()*spotPrice
	return 100 * (all - cost) / (all - least)
}

// entry is a player with what it is to be compared with.
type entry struct {
	name   string
	target string
	player player
	held   func(mean float64, late int) *bool
}

func entries(r *record) []entry {
	is := func(want string) func(float64, int) *bool {
		return func(mean float64, _ int) *bool { ok := fmt.Sprintf("%.2f", mean) == want; return &ok }
	}
	beats := func(mean float64, late int) *bool { ok := mean > best && late == 0; return &ok }
	whole := func(e string) string { return e }
	return []entry{
		{"greedy", "27.80", newLearned("greedy", r, nil), is("27.80")},
		{"uniform-progress", "45.12", newLearned("uniform-progress", r, nil), is("45.12")},
		{"stint, built-in prior", "", newLearned(spot.Default, r, nil), func(float64, int) *bool { return nil }},
		{"stint, environment held out", "> 51.7, 0 late", newLearned(spot.Default, r, whole), beats},
		{"stint, zone held out", "> 51.7, 0 late", newLearned(spot.Default, r, zone), beats},
		{"stint, GPU family held out", "> 51.7, 0 late", newLearned(spot.Default, r, family), beats},
		{"optimum (knows the future)", "54.62", omniscient{}, is("54.62")},
	}
}

// board sums costs by environment and by (deadline, changeover).
type board struct {
	total          float64
	byPlace, byJob []float64
	runs, late     int
}

func (b *board) add(place, job int, cost float64, late bool) {
	b.total += cost
	b.byPlace[place] += cost
	b.byJob[job] += cost
	b.runs++
	if late {
		b.late++
	}
}

func headline(r *record, report *rig.Report) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	header := "\tscore\tlate\t"
	for _, e := range scored {
		header += e[len("us-west-"):] + "\t"
	}
	for _, deadline := range deadlines {
		for _, changeover := range changeovers {
			header += fmt.Sprintf("%.0f h %.2f h\t", deadline.Hours(), changeover.Hours())
		}
	}
	fmt.Fprintln(table, header)
	for _, e := range entries(r) {
		b, err := playBoard(e, r)
		if err != nil {
			return err
		}
		got, line := score(b.total/float64(b.runs)), b.line(e.name)
		fmt.Fprintln(table, line)
		report.Details[e.name] = line
		report.Row("score, "+e.name, e.target, fmt.Sprintf("%.2f, %d of %d late", got, b.late, b.runs), "", e.held(got, b.late))
		if l, ok := e.player.(*learned); ok && l.policy == spot.Default {
			report.Note("%s: %s", e.name, l.timing.note())
		}
	}
	fmt.Println()
	return table.Flush()
}

// playBoard plays all of the leaderboard's runs.
func playBoard(e entry, r *record) (*board, error) {
	picked, jobs := chosen(), len(deadlines)*len(changeovers)
	runs := len(scored) * len(picked) * jobs
	progress := rig.NewProgress("%s: %d runs", e.name, runs)
	b := &board{byPlace: make([]float64, len(scored)), byJob: make([]float64, jobs)}
	for place, environment := range scored {
		for i := range jobs {
			j := job(deadlines[i/len(changeovers)], changeovers[i%len(changeovers)])
			for _, w := range picked {
				cost, late, err := e.player.play(environment, r.windows[environment][w], j)
				if err != nil {
					return nil, err
				}
				b.add(place, i, cost, late)
				progress.At(b.runs, runs)
			}
		}
	}
	return b, nil
}

// line of the table.
func (b *board) line(name string) string {
	line := fmt.Sprintf("%s\t%.2f\t%d\t", name, score(b.total/float64(b.runs)), b.late)
	for _, part := range [][]float64{b.byPlace, b.byJob} {
		for _, cost := range part {
			line += fmt.Sprintf("%.1f\t", score(cost*float64(len(part))/float64(b.runs)))
		}
	}
	return line
}

// wide plays all windows with 60 hours and 0.2 hours of changeover.
func wide(r *record, report *rig.Report) error {
	j := job(60*time.Hour, 720*time.Second)
	alone := work.Hours() * demandPrice
	for _, e := range []struct {
		name, target string
		player       player
	}{
		{"greedy", "0.790", newLearned("greedy", r, nil)},
		{"uniform-progress", "0.728", newLearned("uniform-progress", r, nil)},
		{"stint, environment held out", "< 0.728, 0 late", newLearned(spot.Default, r, func(e string) string { return e })},
		{"stint, zone held out", "< 0.728, 0 late", newLearned(spot.Default, r, zone)},
		{"optimum (knows the future)", "0.653", omniscient{}},
	} {
		total := len(r.environments) * windows
		progress := rig.NewProgress("all windows, %s: %d runs", e.name, total)
		sum, runs, late := 0.0, 0, 0
		for _, environment := range r.environments {
			for _, window := range r.windows[environment] {
				cost, missed, err := e.player.play(environment, window, j)
				if err != nil {
					return err
				}
				sum += cost / alone
				runs++
				if missed {
					late++
				}
				progress.At(runs, total)
			}
		}
		report.Row("cost ÷ on-demand, "+e.name, e.target, fmt.Sprintf("%.3f, %d of %d late", sum/float64(runs), late, runs), "", nil)
	}
	return nil
}
