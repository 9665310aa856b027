package main

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
)

// windows is how many windows the record has of each environment.
const windows = 300

// record is recorded availability: of each environment, windows at random instants, a bit for each tick.
type record struct {
	environments []string // in the order of the file
	windows      map[string][][]bool
}

func readRecord(path string) (*record, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	plain, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	r := &record{windows: map[string][][]bool{}}
	lines := bufio.NewScanner(plain)
	for n := 1; lines.Scan(); n++ {
		if err := r.add(lines.Text()); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", path, n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, e := range r.environments {
		if len(r.windows[e]) != windows {
			return nil, fmt.Errorf("%s: %d windows of %s, want %d", path, len(r.windows[e]), e, windows)
		}
	}
	return r, nil
}

func (r *record) add(line string) error {
	fields := strings.Fields(line)
	if len(fields) != 4 || strings.Trim(fields[3], "01") != "" {
		return errors.New("want \"environment window gap_seconds bits\"")
	}
	environment := fields[0]
	if fields[2] != strconv.Itoa(int(tick.Seconds())) {
		return fmt.Errorf("a gap of %s s, want %v", fields[2], tick)
	}
	if fields[1] != strconv.Itoa(len(r.windows[environment])) {
		return fmt.Errorf("window %s of %s is out of order", fields[1], environment)
	}
	if r.windows[environment] == nil {
		r.environments = append(r.environments, environment)
	}
	offered := make([]bool, len(fields[3]))
	for i := range offered {
		offered[i] = fields[3][i] == '1'
	}
	r.windows[environment] = append(r.windows[environment], offered)
	return nil
}

// chosen are the leaderboard's 30 windows of an environment: 30 even steps through their file names sorted as text.
func chosen() []int {
	const wanted = 30
	names := make([]string, windows)
	for i := range names {
		names[i] = strconv.Itoa(i) + ".json"
	}
	slices.Sort(names)
	var all []int
	taken := map[int]bool{}
	for j := range wanted {
		at := int(math.RoundToEven(float64(j*(windows-1)) / (wanted - 1)))
		for taken[at] {
			at++
		}
		taken[at] = true
		n, _ := strconv.Atoi(strings.TrimSuffix(names[at], ".json")) // the names are our own
		all = append(all, n)
	}
	return all
}

// zone and family of an environment such as us-west-2a_k80_8: us-west-2a and k80.
func zone(environment string) string { return strings.Split(environment, "_")[0] }

func family(environment string) string {
	parts := strings.Split(environment, "_")
	return parts[min(1, len(parts)-1)]
}
