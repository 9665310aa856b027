package agent

import (
	"encoding/json"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// decodeSpec reads the create request. It was validated when it was stored, so only its form is checked here.
func decodeSpec(doc json.RawMessage, into *sagemaker.CreateTrainingJobRequest) error {
	if err := json.Unmarshal(doc, into); err != nil {
		return platform.Errorf(platform.Internal, "", "read the job's request: %w", err)
	}
	if into.AlgorithmSpecification == nil {
		into.AlgorithmSpecification = &sagemaker.AlgorithmSpecification{}
	}
	if into.ResourceConfig == nil {
		into.ResourceConfig = &sagemaker.ResourceConfig{}
	}
	if into.OutputDataConfig == nil {
		into.OutputDataConfig = &sagemaker.OutputDataConfig{}
	}
	return nil
}

// inputMode is how a channel wants its data: its own word, or the job's.
func (a *agent) inputMode(ch sagemaker.Channel) sagemaker.TrainingInputMode {
	if mode := shapes.Value(ch.InputMode); mode != "" {
		return mode
	}
	if mode := shapes.Value(a.spec.AlgorithmSpecification.TrainingInputMode); mode != "" {
		return mode
	}
	return sagemaker.TrainingInputModeFile
}
