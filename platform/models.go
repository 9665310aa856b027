package platform

import (
	"errors"

	"github.com/stint-ml/stint/shapes/sagemaker"
)

// TargetModelHeader names the model of an endpoint of many that an invocation is for, in HTTP's canonical form.
const TargetModelHeader = "X-Amzn-Sagemaker-Target-Model"

// LongestTargetModel is how long such a name may be.
const LongestTargetModel = 1024

// RefusedHeader is of an answer that an instance of many models, or of several containers, gives itself. Its value is one
// of the kinds below, and the body says why in words for the caller.
const RefusedHeader = "X-Stint-Refused"

// The kinds of refusals.
const (
	RefusedMissing = "missing" // there is no such model or container, or what there is cannot be unpacked
	RefusedUnready = "unready" // the model is still being fetched or loaded; who comes again finds it
	RefusedAway    = "away"    // the platform cannot fetch it now
	RefusedBroken  = "broken"  // the container that ContainerHeader names ended the connection before it had answered
	RefusedLate    = "late"    // it has not answered in time
)

// Of invocations that do not say which of many models, or of several containers, they are for.
var (
	ErrNoTargetModel     = errors.New("the invocation names no target model")
	ErrNoTargetContainer = errors.New("the invocation names no target container hostname")
)

// OfMany reports whether a container serves many models, which come and go by request.
func OfMany(c *sagemaker.ContainerDefinition) bool {
	return c.Mode != nil && *c.Mode == sagemaker.ContainerModeMultiModel
}
