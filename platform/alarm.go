package platform

import (
	"context"
	"encoding/json"
	"time"

	"github.com/stint-ml/stint/shapes/cloudwatch"
)

// KindAlarm records are metric alarms, named by their alarm's name; State is the alarm's state.
const KindAlarm Kind = "alarm"

// AlarmState is CloudWatch's StateValue.
type AlarmState string

// The states of an alarm.
const (
	AlarmOK      AlarmState = "OK"
	AlarmRings   AlarmState = "ALARM"
	AlarmUnknown AlarmState = "INSUFFICIENT_DATA"
)

// Alarm is a metric alarm as stored: the validated request and what became of it.
type Alarm struct {
	Spec   cloudwatch.PutMetricAlarmInput `json:"spec"` // without its tags, which are the record's
	Status AlarmStatus                    `json:"status"`
}

// AlarmStatus is everything that Stint adds to the request. Only what changed is written: an alarm that is looked at every
// minute and stays as it is costs no write.
type AlarmStatus struct {
	Origin
	Configured   time.Time  `json:"configured"` // the last PutMetricAlarm
	State        AlarmState `json:"state"`
	Reason       string     `json:"reason"`
	ReasonData   string     `json:"reasonData,omitempty"` // JSON
	Updated      time.Time  `json:"updated"`              // of the state or its reason
	Transitioned time.Time  `json:"transitioned"`         // of the state
	HeldUntil    time.Time  `json:"heldUntil,omitzero"`   // SetAlarmState's word: the metric is not asked before
}

// NewAlarm is an alarm that was not evaluated yet; its Spec is to be given.
func NewAlarm(arn, creator ARN, now time.Time) *Alarm {
	a := &Alarm{Status: AlarmStatus{Origin: Origin{ARN: arn, Creator: creator, Created: now}}}
	a.Status.Enter(AlarmUnknown, "Unchecked: Initial alarm creation", "", now)
	return a
}

// Enter sets the state that an alarm is in from now on, and why.
func (s *AlarmStatus) Enter(to AlarmState, reason, data string, now time.Time) {
	if s.State != to {
		s.Transitioned = now
	}
	s.State, s.Reason, s.ReasonData, s.Updated = to, reason, data, now
}

// Series names what an alarm watches.
func (a *Alarm) Series() Series {
	s := Series{Namespace: *a.Spec.Namespace, Name: *a.Spec.MetricName, Dimensions: map[string]string{}}
	for _, d := range a.Spec.Dimensions {
		s.Dimensions[*d.Name] = *d.Value
	}
	return s
}

// ReadAlarm decodes a record of KindAlarm.
func ReadAlarm(r Record) (*Alarm, error) {
	a := new(Alarm)
	if err := json.Unmarshal(r.Doc, a); err != nil {
		return nil, Errorf(Internal, r.Name, "alarm record: %w", err)
	}
	return a, nil
}

// Record lays the alarm over the record it was read from (a zero one for a new alarm), ready to be committed at now.
func (a *Alarm) Record(was Record, now time.Time) (Record, error) {
	doc, err := json.Marshal(a)
	if err != nil {
		return was, Errorf(Internal, string(a.Status.ARN), "alarm record: %w", err)
	}
	was.Kind, was.Name, was.State, was.Doc = KindAlarm, *a.Spec.AlarmName, string(a.Status.State), doc
	was.Created, was.Modified = a.Status.Created, now
	return was, nil
}

// Alarms tells how alarms stand.
type Alarms interface {
	// AlarmState is the state of an alarm as of now: its metric is asked when there can be news since it was last asked, and a
	// change is written down first. NotFound: no alarm has the name.
	AlarmState(ctx context.Context, name string) (AlarmState, error)
}
