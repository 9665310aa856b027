package client

import (
	"context"

	scaling "github.com/stint-ml/stint/shapes/applicationautoscaling"
)

var toScaling = target{scaling.Service.SigningName, scaling.Service.TargetPrefix}

// ScalableTargets gives what is scaled of the variants named endpoint/NAME/variant/NAME.
func (c *Client) ScalableTargets(ctx context.Context, ids ...string) ([]scaling.ScalableTarget, error) {
	out := new(scaling.DescribeScalableTargetsResponse)
	in := &scaling.DescribeScalableTargetsRequest{ServiceNamespace: new(scaling.ServiceNamespaceSagemaker), ResourceIds: ids}
	err := c.call(ctx, toScaling, "DescribeScalableTargets", in, out)
	return out.ScalableTargets, err
}

// LastScalingActivity gives the last thing that was done to a target; nil when nothing was.
func (c *Client) LastScalingActivity(ctx context.Context, of scaling.ScalableTarget) (*scaling.ScalingActivity, error) {
	out := new(scaling.DescribeScalingActivitiesResponse)
	in := &scaling.DescribeScalingActivitiesRequest{
		ServiceNamespace: of.ServiceNamespace, ResourceId: of.ResourceId, ScalableDimension: of.ScalableDimension, MaxResults: new(int32(1)),
	}
	if err := c.call(ctx, toScaling, "DescribeScalingActivities", in, out); err != nil || len(out.ScalingActivities) == 0 {
		return nil, err
	}
	return &out.ScalingActivities[0], nil
}
