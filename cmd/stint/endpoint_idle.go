package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// wasteAfter is how long an endpoint may idle before its price is called wasted.
const wasteAfter = time.Hour

// quiet is how long an endpoint that serves has idled, 0 when it does not.
func (e *describedEndpoint) quiet() time.Duration {
	if e.Activity == nil || !e.Activity.Idle || e.EndpointStatus == nil || *e.EndpointStatus != sagemaker.EndpointStatusInService {
		return 0
	}
	return time.Duration(e.Activity.IdleSeconds) * time.Second
}

// idle is the same in a word.
func (e *describedEndpoint) idle() string {
	if d := e.quiet(); d > 0 {
		return age(d)
	}
	return ""
}

// asked says when an endpoint was asked last.
func (e *describedEndpoint) asked() string {
	switch {
	case e.Activity == nil:
		return ""
	case e.Activity.LastInvocation == nil && *e.EndpointStatus == sagemaker.EndpointStatusInService:
		return "never"
	case e.Activity.LastInvocation == nil:
		return ""
	case e.Activity.Idle:
		return fmt.Sprintf("last at %s, %s ago", e.Activity.LastInvocation.Local().Format("2006-01-02 15:04"), age(time.Duration(e.Activity.IdleSeconds)*time.Second))
	}
	return "in the last minutes"
}

// wasted says which endpoints have idled for long and cost something all the same; empty when there are none.
func (a *app) wasted(found []*describedEndpoint) string {
	var names []string
	sums := map[platform.Currency]platform.Money{}
	for _, e := range found {
		day := paidADay(e.Cost)
		if e.quiet() < wasteAfter || day.Nanos == 0 {
			continue
		}
		names = append(names, *e.EndpointName)
		day.Nanos += sums[day.Currency].Nanos
		sums[day.Currency] = day
	}
	if len(names) == 0 {
		return ""
	}
	var costs []string
	for _, c := range slices.Sorted(maps.Keys(sums)) {
		costs = append(costs, cents(sums[c]))
	}
	if len(names) == 1 {
		return fmt.Sprintf("%s has idled for over an hour and costs %s a day: %s", names[0], costs[0], a.stint("endpoint advise "+names[0]))
	}
	return fmt.Sprintf("%d endpoints have idled for over an hour and cost %s a day: %s", len(names), strings.Join(costs, " and "), a.stint("endpoint advise NAME"))
}
