package alarm

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stint-ml/stint/platform"
)

// Verdict is what became of an evaluation. Reason and Data are CloudWatch's StateReason and StateReasonData.
type Verdict struct {
	State  platform.AlarmState
	Reason string
	Data   string
}

var relations = map[string]string{
	string(GreaterOrEqual): "greater than or equal to", string(Greater): "greater than",
	string(Less): "less than", string(LessOrEqual): "less than or equal to",
}

// shownPoints bounds the values that a reason spells out: an alarm may look at 1,440, and StateReason has 1,023 characters.
const shownPoints = 5

// reason words an evaluation as CloudWatch does.
func (c Condition) reason(state platform.AlarmState, used []point, filled int) string {
	if state == platform.AlarmUnknown {
		return fmt.Sprintf("Insufficient Data: %s unknown.", counted(c.Periods, "datapoint", true))
	}
	if len(used) == 0 {
		text := "Threshold Crossed: no datapoints were received for " + counted(c.Periods, "period", false)
		if treated := map[string]string{Breaching: "Breaching", NotBreaching: "NonBreaching"}[c.Missing]; treated != "" {
			text += fmt.Sprintf(" and %s treated as [%s]", counted(filled, "missing datapoint", true), treated)
		}
		return text + "."
	}
	// Those that speak for the state: of an alarm that rings the ones that breach, else the others.
	var values []string
	n := 0
	for _, p := range used {
		if p.breaches != (state == platform.AlarmRings) {
			continue
		}
		if n++; n <= shownPoints {
			values = append(values, fmt.Sprintf("%s (%s)", number(p.value), p.Start.Format("02/01/06 15:04:05")))
		}
	}
	if n > shownPoints {
		values = append(values, "...")
	}
	were, not := "were", ""
	if n == 1 {
		were = "was"
	}
	if state != platform.AlarmRings {
		not = " not"
	}
	text := fmt.Sprintf("Threshold Crossed: %d out of the last %d datapoints", n, c.Periods)
	if len(values) > 0 {
		text += " [" + strings.Join(values, ", ") + "]"
	}
	text += fmt.Sprintf(" %s%s %s the threshold (%s)", were, not, relations[string(c.Operator)], number(c.Threshold))
	if state == platform.AlarmRings {
		text += fmt.Sprintf(" (minimum %s for OK -> ALARM transition)", counted(c.Datapoints, "datapoint", false))
	} else {
		text += fmt.Sprintf(" (minimum %s for ALARM -> OK transition)", counted(max(1, c.Periods-c.Datapoints+1), "datapoint", false))
	}
	return text + "."
}

// counted is "1 datapoint was" or "3 datapoints were"; verb asks for the second word.
func counted(n int, what string, verb bool) string {
	be := " were"
	if n == 1 {
		be = " was"
	} else {
		what += "s"
	}
	if !verb {
		be = ""
	}
	return fmt.Sprintf("%d %s%s", n, what, be)
}

// number writes 150 as 150.0, as CloudWatch does.
func number(v float64) string {
	text := strconv.FormatFloat(v, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}

// stamp is how StateReasonData has times.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000-0700") }

// evaluated is one datapoint in StateReasonData.
type evaluated struct {
	Timestamp   string  `json:"timestamp"`
	SampleCount float64 `json:"sampleCount"`
	Value       float64 `json:"value"`
}

// data is the evaluation for programs.
func (c Condition) data(used []point, now time.Time) string {
	out := struct {
		Version    string      `json:"version"`
		QueryDate  string      `json:"queryDate"`
		StartDate  string      `json:"startDate,omitempty"`
		Statistic  string      `json:"statistic"`
		Unit       string      `json:"unit,omitempty"`
		Period     int         `json:"period"`
		Recent     []float64   `json:"recentDatapoints"`
		Threshold  float64     `json:"threshold"`
		Datapoints []evaluated `json:"evaluatedDatapoints"`
	}{Version: "1.0", QueryDate: stamp(now), Statistic: string(c.Statistic), Unit: c.Unit, Period: int(c.Period / time.Second), Recent: []float64{}, Threshold: c.Threshold, Datapoints: []evaluated{}}
	for i, p := range used { // the newest first
		if i < shownPoints {
			out.Recent = append([]float64{p.value}, out.Recent...)
			out.StartDate = stamp(p.Start)
			out.Datapoints = append(out.Datapoints, evaluated{stamp(p.Start), p.Count, p.value})
		}
	}
	text, err := json.Marshal(out)
	if err != nil { // a threshold that is no number; requests with one are refused
		return ""
	}
	return string(text)
}
