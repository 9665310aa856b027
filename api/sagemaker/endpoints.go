package sagemaker

import (
	"cmp"
	"context"
	"fmt"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// Endpoint configurations, and endpoints: an endpoint takes its configuration and the models that it names as they are when
// it is created or updated; what becomes of them later does not touch it.

func (s *service) createEndpointConfig(ctx context.Context, call *api.Call, in *sagemaker.CreateEndpointConfigInput) (*sagemaker.CreateEndpointConfigOutput, error) {
	if err := checkConfig(in); err != nil {
		return nil, err
	}
	for i := range in.ProductionVariants {
		v := &in.ProductionVariants[i]
		if _, err := s.capacity(i, v); err != nil {
			return nil, err
		}
		if _, err := s.servedModel(ctx, call, in, v); err != nil {
			return nil, err
		}
	}
	config := platform.EndpointConfig{Spec: *in, Origin: platform.Origin{ARN: configARN(call, in.EndpointConfigName), Creator: call.Principal.ARN, Created: call.Now}}
	config.Spec.Tags = nil
	if err := s.keep(ctx, call, platform.Key{Kind: platform.KindEndpointConfig, Name: *in.EndpointConfigName}, config, in.Tags); err != nil {
		return nil, orTaken(err, "endpoint configuration", config.ARN)
	}
	return &sagemaker.CreateEndpointConfigOutput{EndpointConfigArn: ptr(string(config.ARN))}, nil
}

// checkConfig refuses what would change how an endpoint answers and is not built.
func checkConfig(in *sagemaker.CreateEndpointConfigInput) error {
	for _, c := range []struct {
		asked bool
		what  string
	}{
		{set(in.ExplainerConfig), "ExplainerConfig"},
		{len(in.ShadowProductionVariants) > 0, "ShadowProductionVariants"},
		{isTrue(in.EnableNetworkIsolation), "EnableNetworkIsolation"},
	} {
		if c.asked {
			return unsupported(c.what, "")
		}
	}
	if err := cmp.Or(checkAsync(in), checkCapture(in)); err != nil {
		return err
	}
	names := map[string]bool{}
	for i := range in.ProductionVariants {
		v := &in.ProductionVariants[i]
		name := *v.VariantName
		if names[name] {
			return invalid("Variant names must be unique; %q is given twice", name)
		}
		names[name] = true
		switch {
		case set(v.ManagedInstanceScaling):
			return unsupported("ManagedInstanceScaling", "")
		case len(v.InstancePools) > 0:
			return unsupported("InstancePools", "")
		case v.ModelName == nil:
			return unsupported("A variant without ModelName (inference components)", "")
		case set(v.ServerlessConfig):
			if err := checkServerless(in, v); err != nil {
				return err
			}
		case v.InstanceType == nil:
			return invalid("InstanceType is required for variant %q", name)
		}
	}
	return nil
}

func (s *service) describeEndpointConfig(ctx context.Context, call *api.Call, in *sagemaker.DescribeEndpointConfigInput) (*sagemaker.DescribeEndpointConfigOutput, error) {
	c, _, err := find[platform.EndpointConfig](ctx, s, platform.KindEndpointConfig, "endpoint configuration", *in.EndpointConfigName, configARN(call, in.EndpointConfigName))
	if err != nil {
		return nil, err
	}
	return &sagemaker.DescribeEndpointConfigOutput{
		EndpointConfigName: c.Spec.EndpointConfigName, EndpointConfigArn: ptr(string(c.ARN)), ProductionVariants: c.Spec.ProductionVariants,
		AsyncInferenceConfig: c.Spec.AsyncInferenceConfig,
		DataCaptureConfig:    c.Spec.DataCaptureConfig, KmsKeyId: c.Spec.KmsKeyId, CreationTime: shapes.NewTimestamp(c.Created),
		ExecutionRoleArn: c.Spec.ExecutionRoleArn, VpcConfig: c.Spec.VpcConfig, EnableNetworkIsolation: orFalse(c.Spec.EnableNetworkIsolation),
	}, nil
}

func (s *service) deleteEndpointConfig(ctx context.Context, call *api.Call, in *sagemaker.DeleteEndpointConfigInput) error {
	_, rec, err := find[platform.EndpointConfig](ctx, s, platform.KindEndpointConfig, "endpoint configuration", *in.EndpointConfigName, configARN(call, in.EndpointConfigName))
	if err != nil {
		return err
	}
	return s.Store.Commit(ctx, platform.Tx{Deletes: []platform.Delete{{Key: rec.Key, Revision: rec.Revision}}})
}

func (s *service) listEndpointConfigs(ctx context.Context, call *api.Call, in *sagemaker.ListEndpointConfigsInput) (*sagemaker.ListEndpointConfigsOutput, error) {
	q := platform.Query{
		Kind: platform.KindEndpointConfig, NameContains: shapes.Value(in.NameContains), CreatedAfter: at(in.CreationTimeAfter),
		CreatedBefore: at(in.CreationTimeBefore), Token: shapes.Value(in.NextToken),
	}
	page, err := s.page(ctx, q, string(shapes.Value(in.SortBy)), string(shapes.Value(in.SortOrder)), in.MaxResults)
	if err != nil {
		return nil, err
	}
	out := &sagemaker.ListEndpointConfigsOutput{EndpointConfigs: []sagemaker.EndpointConfigSummary{}, NextToken: next(page)}
	for _, r := range page.Records {
		out.EndpointConfigs = append(out.EndpointConfigs, sagemaker.EndpointConfigSummary{
			EndpointConfigName: ptr(r.Name), EndpointConfigArn: ptr(string(configARN(call, &r.Name))), CreationTime: shapes.NewTimestamp(r.Created),
		})
	}
	return out, nil
}

func (s *service) createEndpoint(ctx context.Context, call *api.Call, in *sagemaker.CreateEndpointInput) (*sagemaker.CreateEndpointOutput, error) {
	if err := s.checkPolicy(ctx, in.DeploymentConfig); err != nil {
		return nil, err
	}
	coming, err := s.deployment(ctx, call, *in.EndpointConfigName)
	if err != nil {
		return nil, err
	}
	if err := checkUpdate(in.DeploymentConfig, nil, coming); err != nil {
		return nil, err
	}
	arn := endpointARN(call, in.EndpointName)
	e := &platform.Endpoint{Spec: *in, Status: platform.EndpointStatus{
		Origin: platform.Origin{ARN: arn, Creator: call.Principal.ARN, Created: call.Now}, Config: coming.Config, Coming: coming,
		Policy: in.DeploymentConfig,
	}}
	e.Spec.Tags = nil
	if err := e.Status.Enter(platform.EndpointCreating, call.Now); err != nil {
		return nil, err
	}
	rec, err := e.Record(platform.Record{}, call.Now)
	if err != nil {
		return nil, err
	}
	if rec.Tags, err = mergeTags(nil, in.Tags); err != nil {
		return nil, err
	}
	if err := s.Store.Commit(ctx, platform.Tx{Puts: []platform.Put{{Record: rec}}}); err != nil {
		return nil, orTaken(err, "endpoint", arn)
	}
	return &sagemaker.CreateEndpointOutput{EndpointArn: ptr(string(arn))}, nil
}

// deployment takes a configuration with its models as they are now.
func (s *service) deployment(ctx context.Context, call *api.Call, config string) (*platform.Deployment, error) {
	c, _, err := find[platform.EndpointConfig](ctx, s, platform.KindEndpointConfig, "endpoint configuration", config, configARN(call, &config))
	if err != nil {
		return nil, err
	}
	d := &platform.Deployment{Config: config, Began: call.Now, Async: c.Spec.AsyncInferenceConfig, Capture: c.Spec.DataCaptureConfig}
	for i := range c.Spec.ProductionVariants {
		v := &c.Spec.ProductionVariants[i]
		m, err := s.servedModel(ctx, call, &c.Spec, v)
		if err != nil {
			return nil, err
		}
		variant, err := s.capacity(i, v)
		if err != nil {
			return nil, err
		}
		variant.Name, variant.ModelContainers, variant.Role = *v.VariantName, containersOf(&m.Spec), platform.ARN(*m.Spec.ExecutionRoleArn)
		variant.Weight, variant.HealthTimeout = orOne(v.InitialVariantWeight), platform.Seconds(shapes.Value(v.ContainerStartupHealthCheckTimeoutInSeconds))
		variant.FetchTimeout = platform.Seconds(shapes.Value(v.ModelDataDownloadTimeoutInSeconds))
		d.Variants = append(d.Variants, variant)
	}
	return d, nil
}

// capacity makes a variant with what its instances have and cost.
func (s *service) capacity(at int, v *sagemaker.ProductionVariant) (platform.Variant, error) {
	if v.ServerlessConfig != nil {
		return s.serverless(v.ServerlessConfig)
	}
	instance, err := s.instance(fmt.Sprintf("productionVariants.%d.member.instanceType", at+1), string(*v.InstanceType))
	return platform.Variant{
		Type: instance.Type, Desired: int(max(1, shapes.Value(v.InitialInstanceCount))), Need: instance.Capacity(), Rate: instance.OnDemand,
	}, err
}

// orOne is a variant's weight when the request gives none.
func orOne(weight *float64) float64 {
	if weight == nil {
		return 1
	}
	return *weight
}

// endpoint finds an endpoint by its name. One that is being deleted is there until nothing of it is left.
func (s *service) endpoint(ctx context.Context, call *api.Call, name *string) (*platform.Endpoint, platform.Record, error) {
	rec, err := s.Store.Get(ctx, platform.Key{Kind: platform.KindEndpoint, Name: *name})
	if platform.Is(err, platform.NotFound) {
		return nil, rec, missing("endpoint", endpointARN(call, name))
	}
	if err != nil {
		return nil, rec, err
	}
	e, err := platform.ReadEndpoint(rec)
	return e, rec, err
}

// changeEndpoint lets f alter an endpoint; f is called again when somebody else changed it in between.
func (s *service) changeEndpoint(ctx context.Context, call *api.Call, name *string, f func(*platform.Endpoint) error) (platform.ARN, error) {
	for {
		e, rec, err := s.endpoint(ctx, call, name)
		if err != nil {
			return "", err
		}
		if err := f(e); err != nil {
			return "", err
		}
		if rec, err = e.Record(rec, call.Now); err != nil {
			return "", err
		}
		err = s.Store.Commit(ctx, platform.Tx{Puts: []platform.Put{{Record: rec}}})
		if !platform.Is(err, platform.Conflict) {
			return e.Status.ARN, err
		}
	}
}

// atRest refuses a change to an endpoint that is still changing.
func atRest(e *platform.Endpoint) error {
	if st := e.Status.State; st != platform.EndpointInService && st != platform.EndpointFailed {
		return invalid("Cannot update in-progress endpoint %q.", e.Status.ARN)
	}
	return nil
}

func (s *service) updateEndpoint(ctx context.Context, call *api.Call, in *sagemaker.UpdateEndpointInput) (*sagemaker.UpdateEndpointOutput, error) {
	if set(in.DeploymentConfig) && isTrue(in.RetainDeploymentConfig) {
		return nil, invalid("DeploymentConfig must not be given when RetainDeploymentConfig is true")
	}
	if err := s.checkPolicy(ctx, in.DeploymentConfig); err != nil {
		return nil, err
	}
	coming, err := s.deployment(ctx, call, *in.EndpointConfigName)
	if err != nil {
		return nil, err
	}
	arn, err := s.changeEndpoint(ctx, call, in.EndpointName, func(e *platform.Endpoint) error {
		if e.Status.State != platform.EndpointUpdateRollbackFailed {
			if err := atRest(e); err != nil {
				return err
			}
		}
		if err := sameWay(e, coming); err != nil {
			return err
		}
		if isTrue(in.RetainAllVariantProperties) && e.Status.Serving != nil {
			retain(coming, e.Status.Serving, in.ExcludeRetainedVariantProperties)
		}
		policy := policyOf(in, &e.Status)
		if err := checkUpdate(policy, e.Status.Serving, coming); err != nil {
			return err
		}
		e.Spec.EndpointConfigName = in.EndpointConfigName
		return e.Status.Update(coming, policy, call.Now)
	})
	if err != nil {
		return nil, err
	}
	return &sagemaker.UpdateEndpointOutput{EndpointArn: ptr(string(arn))}, nil
}

// retain gives a deployment the data capture, and its variants the weights and counts that those of the same name have, that there
// are now.
func retain(coming, serving *platform.Deployment, but []sagemaker.VariantProperty) {
	dropped := map[sagemaker.VariantPropertyType]bool{}
	for _, p := range but {
		dropped[shapes.Value(p.VariantPropertyType)] = true
	}
	if !dropped[sagemaker.VariantPropertyTypeDataCaptureConfig] {
		coming.Capture = serving.Capture
	}
	for i := range coming.Variants {
		for j := range serving.Variants {
			if to, from := &coming.Variants[i], &serving.Variants[j]; to.Name == from.Name {
				if !dropped[sagemaker.VariantPropertyTypeDesiredWeight] {
					to.Weight = from.Weight
				}
				if !dropped[sagemaker.VariantPropertyTypeDesiredInstanceCount] {
					to.Desired = from.Desired
				}
			}
		}
	}
}

func (s *service) updateWeights(ctx context.Context, call *api.Call, in *sagemaker.UpdateEndpointWeightsAndCapacitiesInput) (*sagemaker.UpdateEndpointWeightsAndCapacitiesOutput, error) {
	arn, err := s.changeEndpoint(ctx, call, in.EndpointName, func(e *platform.Endpoint) error {
		if err := atRest(e); err != nil {
			return err
		}
		if e.Status.Serving == nil {
			return invalid("Cannot update endpoint %q: it has failed and serves nothing", e.Status.ARN)
		}
		for _, d := range in.DesiredWeightsAndCapacities {
			if err := desire(e, d); err != nil {
				return err
			}
		}
		return e.Status.Enter(platform.EndpointUpdating, call.Now)
	})
	if err != nil {
		return nil, err
	}
	return &sagemaker.UpdateEndpointWeightsAndCapacitiesOutput{EndpointArn: ptr(string(arn))}, nil
}

// desire sets what one variant is to have.
func desire(e *platform.Endpoint, d sagemaker.DesiredWeightAndCapacity) error {
	for i := range e.Status.Serving.Variants {
		v := &e.Status.Serving.Variants[i]
		if v.Name != *d.VariantName {
			continue
		}
		if err := desireServerless(v, &d); err != nil {
			return err
		}
		if d.DesiredWeight != nil {
			v.Weight = *d.DesiredWeight
		}
		if d.DesiredInstanceCount != nil {
			if *d.DesiredInstanceCount < 1 && e.Status.Serving.Async == nil {
				return invalid("DesiredInstanceCount of variant %q must be at least 1; got %d", v.Name, *d.DesiredInstanceCount)
			}
			v.Desired = int(*d.DesiredInstanceCount)
		}
		return nil
	}
	return invalid("The variant name(s) %q is/are not present within endpoint configuration %q.", *d.VariantName, e.Status.Config)
}

// deleteEndpoint writes the wish down. The endpoint answers nothing more, and is gone when its instances are.
func (s *service) deleteEndpoint(ctx context.Context, call *api.Call, in *sagemaker.DeleteEndpointInput) error {
	_, err := s.changeEndpoint(ctx, call, in.EndpointName, func(e *platform.Endpoint) error {
		return e.Status.Enter(platform.EndpointDeleting, call.Now)
	})
	return err
}

func (s *service) describeEndpoint(ctx context.Context, call *api.Call, in *sagemaker.DescribeEndpointInput) (*sagemaker.DescribeEndpointOutput, error) {
	e, rec, err := s.endpoint(ctx, call, in.EndpointName)
	if err != nil {
		return nil, err
	}
	st := &e.Status
	out := &sagemaker.DescribeEndpointOutput{
		EndpointName: e.Spec.EndpointName, EndpointArn: ptr(string(st.ARN)), EndpointConfigName: &st.Config,
		EndpointStatus: ptr(sagemaker.EndpointStatus(st.State)), CreationTime: shapes.NewTimestamp(st.Created), LastModifiedTime: shapes.NewTimestamp(rec.Modified),
		ProductionVariants: summaries(st.Serving, 1), LastDeploymentConfig: st.Policy, PendingDeploymentSummary: pending(st),
		AsyncInferenceConfig: asyncConfig(st), DataCaptureConfig: captureSummary(st.Serving),
	}
	if st.Serving == nil {
		out.ProductionVariants, out.DataCaptureConfig = summaries(st.Coming, 1), captureSummary(st.Coming)
	} else if st.Rollout != nil {
		out.ProductionVariants = summaries(st.Serving, 1-st.Rollout.Share)
	}
	if st.FailureReason != "" {
		out.FailureReason = &st.FailureReason
	}
	return out, nil
}

// summaries are what Describe tells of a deployment that has a share of the requests.
func summaries(d *platform.Deployment, share float64) []sagemaker.ProductionVariantSummary {
	if d == nil {
		return nil
	}
	var out []sagemaker.ProductionVariantSummary
	for i := range d.Variants {
		v := &d.Variants[i]
		ready, weight := int32(v.Ready()), v.Weight*share
		summary := sagemaker.ProductionVariantSummary{
			VariantName: &v.Name, CurrentWeight: &weight, DesiredWeight: &v.Weight, CurrentInstanceCount: &ready, DesiredInstanceCount: ptr(int32(v.Desired)),
			CurrentServerlessConfig: serverlessConfig(v), DesiredServerlessConfig: serverlessConfig(v),
		}
		for _, c := range v.Containers() {
			summary.DeployedImages = append(summary.DeployedImages, sagemaker.DeployedImage{SpecifiedImage: c.Image, ResolvedImage: c.Image, ResolutionTime: shapes.NewTimestamp(d.Began)})
		}
		if v.Serverless != nil {
			summary.CurrentInstanceCount, summary.DesiredInstanceCount = nil, nil
		}
		if v.Roomless != "" {
			summary.VariantStatus = []sagemaker.ProductionVariantStatus{{Status: ptr(sagemaker.VariantStatusCreating), StatusMessage: &v.Roomless}}
		}
		out = append(out, summary)
	}
	return out
}

func (s *service) listEndpoints(ctx context.Context, call *api.Call, in *sagemaker.ListEndpointsInput) (*sagemaker.ListEndpointsOutput, error) {
	q := platform.Query{
		Kind: platform.KindEndpoint, NameContains: shapes.Value(in.NameContains), Token: shapes.Value(in.NextToken),
		CreatedAfter: at(in.CreationTimeAfter), CreatedBefore: at(in.CreationTimeBefore),
		ModifiedAfter: at(in.LastModifiedTimeAfter), ModifiedBefore: at(in.LastModifiedTimeBefore),
	}
	if in.StatusEquals != nil {
		q.States = []string{string(*in.StatusEquals)}
	}
	page, err := s.page(ctx, q, string(shapes.Value(in.SortBy)), string(shapes.Value(in.SortOrder)), in.MaxResults)
	if err != nil {
		return nil, err
	}
	out := &sagemaker.ListEndpointsOutput{Endpoints: []sagemaker.EndpointSummary{}, NextToken: next(page)}
	for _, r := range page.Records {
		out.Endpoints = append(out.Endpoints, sagemaker.EndpointSummary{
			EndpointName: ptr(r.Name), EndpointArn: ptr(string(endpointARN(call, &r.Name))), EndpointStatus: ptr(sagemaker.EndpointStatus(r.State)),
			CreationTime: shapes.NewTimestamp(r.Created), LastModifiedTime: shapes.NewTimestamp(r.Modified),
		})
	}
	return out, nil
}
