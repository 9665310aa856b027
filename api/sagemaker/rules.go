package sagemaker

import (
	"fmt"
	"strings"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// checkRequest applies the rules that the service model's constraints do not state. The first one broken is the answer.
func checkRequest(in *sagemaker.CreateTrainingJobRequest) error {
	for _, check := range []func(*sagemaker.CreateTrainingJobRequest) error{
		checkUnsupported, checkAlgorithm, checkResources, checkInputs, checkOutput, checkTags, checkWait, checkCheckpoints,
	} {
		if err := check(in); err != nil {
			return err
		}
	}
	return nil
}

func invalid(format string, args ...any) error {
	return platform.Errorf(platform.Invalid, "", format, args...)
}

// unsupported refuses what AWS has and this server has not; advice may be empty.
func unsupported(what, advice string) error {
	if advice != "" {
		advice = "; " + advice
	}
	return platform.Errorf(platform.NotSupported, "", "%s is not supported by this server%s", what, advice)
}

func set[T any](p *T) bool { return p != nil }

func isTrue(b *bool) bool { return b != nil && *b }

// checkUnsupported refuses what would change the outcome of the job and is not built: better no job than another one.
func checkUnsupported(in *sagemaker.CreateTrainingJobRequest) error {
	r := in.ResourceConfig
	for _, c := range []struct {
		asked bool
		what  string
	}{
		{isTrue(in.EnableNetworkIsolation), "EnableNetworkIsolation"},
		{len(in.DebugRuleConfigurations) > 0, "DebugRuleConfigurations"},
		{len(in.ProfilerRuleConfigurations) > 0, "ProfilerRuleConfigurations"},
		{set(in.ServerlessJobConfig), "ServerlessJobConfig"},
		{set(in.ModelPackageConfig), "ModelPackageConfig"},
		{set(in.SessionChainingConfig) && isTrue(in.SessionChainingConfig.EnableSessionTagChaining), "SessionChainingConfig"},
		{set(in.RemoteDebugConfig) && isTrue(in.RemoteDebugConfig.EnableRemoteDebug), "RemoteDebugConfig"},
		{set(r) && len(r.InstanceGroups) > 0, "ResourceConfig.InstanceGroups"},
		{set(r) && set(r.TrainingPlanArn), "ResourceConfig.TrainingPlanArn"},
		{set(r) && len(r.InstancePreferences) > 0, "ResourceConfig.InstancePreferences"},
		{set(r) && set(r.InstanceCount) && *r.InstanceCount > 1, "ResourceConfig.InstanceCount above 1"},
	} {
		if c.asked {
			return unsupported(c.what, "")
		}
	}
	return nil
}

func checkAlgorithm(in *sagemaker.CreateTrainingJobRequest) error {
	a := in.AlgorithmSpecification
	switch {
	case a == nil:
		return invalid("AlgorithmSpecification is required")
	case set(a.AlgorithmName):
		return unsupported("AlgorithmSpecification.AlgorithmName", "name a TrainingImage instead")
	case !set(a.TrainingImage) || *a.TrainingImage == "":
		return invalid("You must specify AlgorithmSpecification.TrainingImage")
	case set(a.TrainingInputMode) && *a.TrainingInputMode == sagemaker.TrainingInputModePipe:
		return unsupported("TrainingInputMode Pipe", "use File or FastFile")
	}
	names := map[string]bool{}
	for _, m := range a.MetricDefinitions {
		if names[*m.Name] {
			return invalid("Metric definition names must be unique; %q is given twice", *m.Name)
		}
		names[*m.Name] = true
	}
	return nil
}

func checkResources(in *sagemaker.CreateTrainingJobRequest) error {
	r := in.ResourceConfig
	if r == nil || r.InstanceType == nil || r.InstanceCount == nil {
		return invalid("ResourceConfig must have InstanceType and InstanceCount")
	}
	if *r.InstanceCount < 1 { // the model allows 0, for the sake of instance groups
		return invalid("ResourceConfig.InstanceCount must be at least 1; got %d", *r.InstanceCount)
	}
	return nil
}

func checkInputs(in *sagemaker.CreateTrainingJobRequest) error {
	names := map[string]bool{}
	for _, ch := range in.InputDataConfig {
		name := *ch.ChannelName
		if names[name] {
			return invalid("Channel names must be unique; %q is given twice", name)
		}
		names[name] = true
		if set(ch.InputMode) && *ch.InputMode == sagemaker.TrainingInputModePipe {
			return unsupported(fmt.Sprintf("InputMode Pipe of channel %q", name), "use File or FastFile")
		}
		if ch.DataSource == nil || ch.DataSource.S3DataSource == nil {
			return unsupported(fmt.Sprintf("A data source other than S3DataSource (channel %q)", name), "")
		}
		if _, _, err := platform.URI(*ch.DataSource.S3DataSource.S3Uri).Split(); err != nil {
			return invalid("S3Uri of channel %q: %s", name, err.Error())
		}
	}
	return nil
}

func checkOutput(in *sagemaker.CreateTrainingJobRequest) error {
	if _, _, err := platform.URI(*in.OutputDataConfig.S3OutputPath).Split(); err != nil {
		return invalid("OutputDataConfig.S3OutputPath: %s", err.Error())
	}
	return nil
}

func checkTags(in *sagemaker.CreateTrainingJobRequest) error {
	_, err := mergeTags(nil, in.Tags)
	return err
}

// notes tells the user what of the request has no effect on this platform. None of it changes the result of the job.
func notes(in *sagemaker.CreateTrainingJobRequest) []string {
	var ignored []string
	for _, c := range []struct {
		asked bool
		what  string
	}{
		{set(in.VpcConfig), "VpcConfig"},
		{isTrue(in.EnableInterContainerTrafficEncryption), "EnableInterContainerTrafficEncryption"},
		{set(in.OutputDataConfig.KmsKeyId) && *in.OutputDataConfig.KmsKeyId != "", "OutputDataConfig.KmsKeyId"},
		{set(in.ResourceConfig.VolumeKmsKeyId), "ResourceConfig.VolumeKmsKeyId"},
		{set(in.ResourceConfig.KeepAlivePeriodInSeconds), "ResourceConfig.KeepAlivePeriodInSeconds"},
		{set(in.ExperimentConfig), "ExperimentConfig"},
		{set(in.TensorBoardOutputConfig), "TensorBoardOutputConfig"},
		{set(in.MlflowConfig), "MlflowConfig"},
	} {
		if c.asked {
			ignored = append(ignored, c.what)
		}
	}
	if len(ignored) == 0 {
		return nil
	}
	return []string{"this server accepts and does not use " + strings.Join(ignored, ", ")}
}
