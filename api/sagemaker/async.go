package sagemaker

import (
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// Asynchronous endpoints: they answer into the object store what waits in their queue, and nothing at once.

// checkAsync refuses what an asynchronous endpoint cannot be, or is not built.
func checkAsync(in *sagemaker.CreateEndpointConfigInput) error {
	c := in.AsyncInferenceConfig
	if c == nil {
		return nil
	}
	switch {
	case len(in.ProductionVariants) > 1:
		return invalid("An asynchronous endpoint must have exactly one production variant; got %d", len(in.ProductionVariants))
	case c.OutputConfig == nil || !set(c.OutputConfig.S3OutputPath):
		return unsupported("AsyncInferenceConfig without OutputConfig.S3OutputPath", "say where the answers go")
	}
	for _, path := range []*string{c.OutputConfig.S3OutputPath, c.OutputConfig.S3FailurePath} {
		if path == nil {
			continue
		}
		if _, _, err := platform.URI(*path).Split(); err != nil {
			return invalid("AsyncInferenceConfig.OutputConfig: %s", err)
		}
	}
	return nil
}

// sameWay refuses an update that would leave callers without the way in which they ask.
func sameWay(e *platform.Endpoint, coming *platform.Deployment) error {
	serving := e.Status.Serving
	if serving == nil || (serving.Async == nil) == (coming.Async == nil) {
		return nil
	}
	return invalid("Cannot update endpoint %q from real-time to asynchronous inference or back; create another endpoint", e.Status.ARN)
}

// asyncConfig is that of the deployment that serves, else of the one that comes.
func asyncConfig(st *platform.EndpointStatus) *sagemaker.AsyncInferenceConfig {
	switch {
	case st.Serving != nil:
		return st.Serving.Async
	case st.Coming != nil:
		return st.Coming.Async
	}
	return nil
}
