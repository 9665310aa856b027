package sagemaker

import (
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// checkCapture refuses a DataCaptureConfig that could not be followed.
func checkCapture(in *sagemaker.CreateEndpointConfigInput) error {
	c := in.DataCaptureConfig
	if !set(c) {
		return nil
	}
	if _, _, err := platform.URI(*c.DestinationS3Uri).Split(); err != nil {
		return invalid("DataCaptureConfig.DestinationS3Uri: %q is not an S3 URI; it should look like s3://bucket/prefix", *c.DestinationS3Uri)
	}
	if shapes.Value(c.KmsKeyId) != "" {
		return unsupported("DataCaptureConfig.KmsKeyId", "")
	}
	for i := range in.ProductionVariants {
		if platform.Captures(c) && set(in.ProductionVariants[i].ServerlessConfig) {
			return invalid("Data capture is not supported for serverless endpoints")
		}
	}
	return nil
}

// captureSummary is how it stands with data capture; nil for a deployment that was never asked for it.
func captureSummary(d *platform.Deployment) *sagemaker.DataCaptureConfigSummary {
	if d == nil || d.Capture == nil {
		return nil
	}
	status := sagemaker.CaptureStatusStopped
	if platform.Captures(d.Capture) {
		status = sagemaker.CaptureStatusStarted
	}
	return &sagemaker.DataCaptureConfigSummary{
		EnableCapture: ptr(platform.Captures(d.Capture)), CaptureStatus: &status, CurrentSamplingPercentage: d.Capture.InitialSamplingPercentage,
		DestinationS3Uri: d.Capture.DestinationS3Uri, KmsKeyId: ptr(shapes.Value(d.Capture.KmsKeyId)),
	}
}
