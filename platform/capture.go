package platform

import "github.com/stint-ml/stint/shapes/sagemaker"

// Capture is what of the requests to a variant and of its answers is kept, and where: what a DataCaptureConfig that is enabled
// means for one variant.
type Capture struct {
	Destination URI
	Role        ARN // writes there
	Percent     int // of the requests
	// Input and Output say which of both is kept.
	Input, Output bool
	// The content types that are kept as the text that they are; all others are encoded.
	CSV, JSON []string
}

// CaptureOf reads a configuration; nil when it asks for nothing. It is enabled unless it says otherwise.
func CaptureOf(c *sagemaker.DataCaptureConfig, role ARN) *Capture {
	if c == nil || !Captures(c) || *c.InitialSamplingPercentage == 0 {
		return nil
	}
	out := &Capture{Destination: URI(*c.DestinationS3Uri), Role: role, Percent: int(*c.InitialSamplingPercentage)}
	for _, o := range c.CaptureOptions {
		switch *o.CaptureMode {
		case sagemaker.CaptureModeInput:
			out.Input = true
		case sagemaker.CaptureModeOutput:
			out.Output = true
		case sagemaker.CaptureModeInputAndOutput:
			out.Input, out.Output = true, true
		}
	}
	if types := c.CaptureContentTypeHeader; types != nil {
		out.CSV, out.JSON = types.CsvContentTypes, types.JsonContentTypes
	}
	return out
}

// Captures reports whether a configuration is enabled, which one is that does not say.
func Captures(c *sagemaker.DataCaptureConfig) bool { return c.EnableCapture == nil || *c.EnableCapture }
