package main

import (
	"fmt"
	"strings"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// printUpdate shows how far an update has come: its stage, its share of the requests, and what of it is ready.
func (a *app) printUpdate(e *describedEndpoint) {
	d := e.PendingDeploymentSummary
	if d == nil || *e.EndpointStatus == sagemaker.EndpointStatusCreating {
		return
	}
	rows := [][2]string{{"to", shapes.Value(d.EndpointConfigName)}, {"began", moment(d.StartTime)}}
	for i, v := range d.ProductionVariants {
		if len(v.VariantStatus) > 0 && i == 0 { // all variants go through an update together
			stage := v.VariantStatus[0]
			rows = append(rows, [2]string{"stage", string(shapes.Value(stage.Status))})
			if stage.StatusMessage != nil {
				at, _, _ := strings.Cut(*stage.StatusMessage, "; "+platform.WaitingForRoom) // which is told apart
				rows = append(rows, [2]string{"is at", at})
			}
		}
		if v.DesiredInstanceCount != nil {
			rows = append(rows, [2]string{*v.VariantName, fmt.Sprintf("%d of %d ready", shapes.Value(v.CurrentInstanceCount), *v.DesiredInstanceCount)})
		}
	}
	a.section("Update", rows)
}
