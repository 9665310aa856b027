package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/stint-ml/stint/cmd/stint/client"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	scaling "github.com/stint-ml/stint/shapes/applicationautoscaling"
)

// scaledVariant is what application autoscaling may do to a variant, and what it did last.
type scaledVariant struct {
	Target scaling.ScalableTarget   `json:"Target"`
	Last   *scaling.ScalingActivity `json:"LastActivity,omitzero"`
}

// addScaling asks what is scaled of an endpoint. Who may not know that sees the rest.
func (e *describedEndpoint) addScaling(ctx context.Context, c *client.Client) error {
	var ids []string
	for _, v := range e.ProductionVariants {
		ids = append(ids, platform.VariantName{Endpoint: *e.EndpointName, Variant: *v.VariantName}.ResourceID())
	}
	if len(ids) == 0 {
		return nil
	}
	targets, err := c.ScalableTargets(ctx, ids...)
	for i := 0; i < len(targets) && err == nil; i++ {
		s := scaledVariant{Target: targets[i]}
		s.Last, err = c.LastScalingActivity(ctx, targets[i])
		e.Scaling = append(e.Scaling, s)
	}
	var refused *client.APIError
	if errors.As(err, &refused) && refused.Code == "AccessDeniedException" {
		return nil
	}
	return err
}

// printScaling shows within which bounds the variants are scaled, and the last change.
func (a *app) printScaling(e *describedEndpoint) {
	for _, s := range e.Scaling {
		of, _ := platform.ParseResourceID(*s.Target.ResourceId)
		what := "instances"
		if string(*s.Target.ScalableDimension) == string(platform.DesiredProvisionedConcurrency) {
			what = "provisioned instances"
		}
		rows := [][2]string{{"range", fmt.Sprintf("%d to %d %s", *s.Target.MinCapacity, *s.Target.MaxCapacity, what)}}
		if l := s.Last; l != nil {
			rows = append(rows, [2]string{"last", moment(l.StartTime) + "  " + *l.Description + a.onOut.dim("  "+string(*l.StatusCode))},
				[2]string{"why", *l.Cause}, [2]string{"", shapes.Value(l.Details)})
		}
		a.section("Scaling of "+of.Variant, rows)
	}
}
