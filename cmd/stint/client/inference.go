package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/stint-ml/stint/api/stint"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
	"github.com/stint-ml/stint/wire/sigv4"
)

// invokeWithin bounds an invocation: a container may take a minute to answer, and its answer some time to arrive.
const invokeWithin = 2 * time.Minute

// CreateModel writes a model down.
func (c *Client) CreateModel(ctx context.Context, in *sagemaker.CreateModelInput) error {
	return c.call(ctx, toSageMaker, "CreateModel", in, nil)
}

// DescribeModel shows a model.
func (c *Client) DescribeModel(ctx context.Context, name string) (*sagemaker.DescribeModelOutput, error) {
	out := new(sagemaker.DescribeModelOutput)
	return out, c.call(ctx, toSageMaker, "DescribeModel", &sagemaker.DescribeModelInput{ModelName: &name}, out)
}

// DeleteModel forgets a model; what serves it goes on.
func (c *Client) DeleteModel(ctx context.Context, name string) error {
	return c.call(ctx, toSageMaker, "DeleteModel", &sagemaker.DeleteModelInput{ModelName: &name}, nil)
}

// CreateEndpointConfig writes a configuration down.
func (c *Client) CreateEndpointConfig(ctx context.Context, in *sagemaker.CreateEndpointConfigInput) error {
	return c.call(ctx, toSageMaker, "CreateEndpointConfig", in, nil)
}

// DescribeEndpointConfig shows a configuration.
func (c *Client) DescribeEndpointConfig(ctx context.Context, name string) (*sagemaker.DescribeEndpointConfigOutput, error) {
	out := new(sagemaker.DescribeEndpointConfigOutput)
	return out, c.call(ctx, toSageMaker, "DescribeEndpointConfig", &sagemaker.DescribeEndpointConfigInput{EndpointConfigName: &name}, out)
}

// DeleteEndpointConfig forgets a configuration; an endpoint that was made of it goes on.
func (c *Client) DeleteEndpointConfig(ctx context.Context, name string) error {
	return c.call(ctx, toSageMaker, "DeleteEndpointConfig", &sagemaker.DeleteEndpointConfigInput{EndpointConfigName: &name}, nil)
}

// CreateEndpoint asks for an endpoint.
func (c *Client) CreateEndpoint(ctx context.Context, in *sagemaker.CreateEndpointInput) error {
	return c.call(ctx, toSageMaker, "CreateEndpoint", in, nil)
}

// DescribeEndpoint shows one endpoint.
func (c *Client) DescribeEndpoint(ctx context.Context, name string) (*sagemaker.DescribeEndpointOutput, error) {
	out := new(sagemaker.DescribeEndpointOutput)
	return out, c.call(ctx, toSageMaker, "DescribeEndpoint", &sagemaker.DescribeEndpointInput{EndpointName: &name}, out)
}

// ListEndpoints gives one page of endpoints.
func (c *Client) ListEndpoints(ctx context.Context, in *sagemaker.ListEndpointsInput) (*sagemaker.ListEndpointsOutput, error) {
	out := new(sagemaker.ListEndpointsOutput)
	return out, c.call(ctx, toSageMaker, "ListEndpoints", in, out)
}

// DeleteEndpoint asks for an endpoint's end.
func (c *Client) DeleteEndpoint(ctx context.Context, name string) error {
	return c.call(ctx, toSageMaker, "DeleteEndpoint", &sagemaker.DeleteEndpointInput{EndpointName: &name}, nil)
}

// EndpointARN names an endpoint of this server.
func (c *Client) EndpointARN(name string) platform.ARN {
	return c.Site.ARN("sagemaker", "endpoint/"+name)
}

// CostOf gives the bill of whatever an ARN names.
func (c *Client) CostOf(ctx context.Context, arn platform.ARN) (*stint.GetCostResponse, error) {
	out := new(stint.GetCostResponse)
	name := string(arn)
	return out, c.call(ctx, toStint, "GetCost", &stint.GetCostRequest{ResourceArn: &name}, out)
}

// EndpointActivity tells when an endpoint was asked last.
func (c *Client) EndpointActivity(ctx context.Context, name string) (*stint.GetEndpointActivityResponse, error) {
	out := new(stint.GetEndpointActivityResponse)
	return out, c.call(ctx, toStint, "GetEndpointActivity", &stint.GetEndpointActivityRequest{EndpointName: &name}, out)
}

// EndpointAdvice tells what an endpoint's traffic would cost if it were served otherwise.
func (c *Client) EndpointAdvice(ctx context.Context, in *stint.GetEndpointAdviceRequest) (*stint.GetEndpointAdviceResponse, error) {
	out := new(stint.GetEndpointAdviceResponse)
	return out, c.call(ctx, toStint, "GetEndpointAdvice", in, out)
}

// Invocation is one request to an endpoint.
type Invocation struct {
	Endpoint, ContentType, Accept, Variant string

	Model string // of many that the endpoint has
	Body  []byte
}

// Prediction is what an endpoint's container answered; Body streams and must be closed.
type Prediction struct {
	ContentType, Variant string
	Body                 io.ReadCloser
}

// Invoke asks an endpoint. A container's own error is an APIError whose code is ModelError.
func (c *Client) Invoke(ctx context.Context, in Invocation) (*Prediction, error) {
	response, err := c.ask(ctx, in.Endpoint, "invocations", in.Body, map[string]string{
		"Content-Type": in.ContentType, "Accept": in.Accept, "X-Amzn-SageMaker-Target-Variant": in.Variant, "X-Amzn-SageMaker-Target-Model": in.Model,
	})
	if err != nil {
		return nil, err
	}
	if response.StatusCode == http.StatusOK {
		return &Prediction{
			ContentType: response.Header.Get("Content-Type"), Variant: response.Header.Get("x-Amzn-Invoked-Production-Variant"), Body: response.Body,
		}, nil
	}
	return nil, c.refused(ctx, response, "InvokeEndpoint")
}

// Later is where the answer to an asynchronous invocation will be.
type Later struct{ InferenceID, Output, Failure string }

// InvokeAsync asks an asynchronous endpoint for the answer to an object; the invocation's Body says nothing.
func (c *Client) InvokeAsync(ctx context.Context, in Invocation, input platform.URI) (*Later, error) {
	response, err := c.ask(ctx, in.Endpoint, "async-invocations", nil, map[string]string{
		"X-Amzn-SageMaker-Content-Type": in.ContentType, "X-Amzn-SageMaker-Accept": in.Accept, "X-Amzn-SageMaker-InputLocation": string(input),
	})
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusAccepted {
		return nil, c.refused(ctx, response, "InvokeEndpointAsync")
	}
	defer response.Body.Close()
	later := &Later{Output: response.Header.Get("X-Amzn-SageMaker-OutputLocation"), Failure: response.Header.Get("X-Amzn-SageMaker-FailureLocation")}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(later); err != nil {
		return nil, c.unreachable(ctx, c.Endpoint, err)
	}
	return later, nil
}

// ask signs and sends an invocation; empty headers are left out.
func (c *Client) ask(ctx context.Context, endpoint, operation string, body []byte, headers map[string]string) (*http.Response, error) {
	where := c.Endpoint + "/endpoints/" + url.PathEscape(endpoint) + "/" + operation
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, where, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", operation, err)
	}
	for name, value := range headers {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	if err := sigv4.Sign(r, c.Credentials, c.Site.Region, toSageMaker.signing, c.Now()); err != nil {
		return nil, err
	}
	patient := *c.http
	patient.Timeout = invokeWithin
	response, err := patient.Do(r)
	if err != nil {
		return nil, c.unreachable(ctx, c.Endpoint, err)
	}
	return response, nil
}

// refused reads the error that an answer is.
func (c *Client) refused(ctx context.Context, response *http.Response, operation string) error {
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return c.unreachable(ctx, c.Endpoint, err)
	}
	return answer{response.StatusCode, body}.refusal(operation)
}
