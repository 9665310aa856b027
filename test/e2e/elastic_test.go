package e2e

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/aws/smithy-go"
)

func (e *serving) bill(t *testing.T) bill { return e.s.bill(t, e.name) }

// used sums what was used of a serverless endpoint; it has to have no other lines.
func (e *serving) used(t *testing.T) (invocations, milliseconds int64) {
	t.Helper()
	for _, l := range e.bill(t).Lines {
		if l.Purchase != "serverless" {
			t.Errorf("a line is of %+v", l)
		}
		invocations += l.Invocations
		milliseconds += l.Milliseconds
	}
	return invocations, milliseconds
}

// A serverless endpoint has no instance when nothing is asked of it, one for each request that is, refuses what is above its
// concurrency, and costs the milliseconds that it worked, whatever happens to the server.
func TestServerless(t *testing.T) {
	t.Parallel()
	s := start(t, append([]string{"--serverless-keep", "2s"}, roomy...)...)
	s.makeBucket(t)
	e := s.deployAs(t, "on-use", 4, types.ProductionVariant{ServerlessConfig: &types.ProductionVariantServerlessConfig{
		MemorySizeInMB: aws.Int32(1024), MaxConcurrency: aws.Int32(2),
	}})
	e.inService(t)
	// 1. Two at once, each in an instance of its own; a third is refused as AWS does it.
	e.bothAtOnce(t)
	// 2. Silence gives the instances back; the first request after it waits for one, and is answered.
	gone := func() bool { return len(s.agents(t)) == 0 }
	eventually(t, servingLimit, "the instances to be given back", gone)
	if _, err := e.invoke(t, `{"sleeps": 0.3}`); err != nil {
		t.Fatalf("the first after a silence: %v", err)
	}
	// 3. What was used is known to the millisecond, also by the next server, and the ledger has it in the end.
	eventually(t, 10*time.Second, "the use to be written down", func() bool { n, _ := e.used(t); return n == 3 })
	_, was := e.used(t)
	if was < 3300 || was > 2*3300 { // the rest is what a busy machine adds
		t.Errorf("3.3 s of sleep were %d ms of work", was)
	}
	s.kill(t)
	s.up(t)
	eventually(t, servingLimit, "the instance to be given back", gone)
	eventually(t, 20*time.Second, "an answer from the next server", func() bool { _, err := e.invoke(t, "[[1]]"); return err == nil })
	e.delete(t)
	if n, now := e.used(t); n != 4 || now <= was || now > was+3000 || e.bill(t).Running {
		t.Errorf("%d invocations of %d ms, and were %d ms: %+v", n, now, was, e.bill(t))
	}
}

// bothAtOnce invokes twice at once what may have two invocations, and a third time.
func (e *serving) bothAtOnce(t *testing.T) {
	t.Helper()
	d, err := e.s.sagemaker().DescribeEndpoint(t.Context(), &sagemaker.DescribeEndpointInput{EndpointName: &e.name})
	if err != nil || d.ProductionVariants[0].CurrentServerlessConfig == nil || aws.ToInt32(d.ProductionVariants[0].CurrentServerlessConfig.MaxConcurrency) != 2 {
		t.Fatalf("%+v: %v", d, err)
	}
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			if _, err := e.invoke(t, `{"sleeps": 1.5}`); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, servingLimit, "two instances", func() bool { return len(e.s.agents(t)) == 2 })
	var refused smithy.APIError
	if _, err := e.invoke(t, "[[1]]"); !errors.As(err, &refused) || refused.ErrorCode() != "ThrottlingException" {
		t.Errorf("a third one: %v", err)
	}
	both.Wait()
}

// Provisioned concurrency is there without a request, and is paid for by its time.
func TestProvisionedConcurrency(t *testing.T) {
	t.Parallel()
	s := start(t, append([]string{"--serverless-keep", "1s"}, roomy...)...)
	s.makeBucket(t)
	e := s.deployAs(t, "kept", 1, types.ProductionVariant{ServerlessConfig: &types.ProductionVariantServerlessConfig{
		MemorySizeInMB: aws.Int32(1024), MaxConcurrency: aws.Int32(3), ProvisionedConcurrency: aws.Int32(1),
	}})
	e.inService(t)
	if _, err := e.invoke(t, "[[1]]"); err != nil {
		t.Fatal(err)
	}
	kinds := func() map[string]int {
		out := map[string]int{}
		for _, l := range e.bill(t).Lines {
			out[l.Purchase]++
		}
		return out
	}
	eventually(t, 10*time.Second, "the use to be written down", func() bool { return kinds()["provisioned-use"] == 1 })
	update := func(provisioned int32) {
		t.Helper()
		_, err := s.sagemaker().UpdateEndpointWeightsAndCapacities(t.Context(), &sagemaker.UpdateEndpointWeightsAndCapacitiesInput{
			EndpointName: &e.name, DesiredWeightsAndCapacities: []types.DesiredWeightAndCapacity{{
				VariantName: aws.String("AllTraffic"), ServerlessUpdateConfig: &types.ProductionVariantServerlessUpdateConfig{ProvisionedConcurrency: &provisioned},
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
		e.inService(t)
	}
	update(2)
	if got := kinds(); len(s.agents(t)) != 2 || got["provisioned"] != 2 {
		t.Errorf("%d agents, lines %v", len(s.agents(t)), got)
	}
	update(1)
	eventually(t, servingLimit, "one instance to leave", func() bool { return len(s.agents(t)) == 1 })
	e.delete(t)
	if got := kinds(); got["provisioned"] != 2 || got["serverless"] != 0 || e.bill(t).Running {
		t.Errorf("%v", got)
	}
}

// An endpoint with the tag gives its instances back when it idles, costs nothing while it sleeps, and wakes for a request.
func TestAnEndpointThatSleeps(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	s.makeBucket(t)
	one := int32(1)
	e := s.deployAs(t, "sleeps", 3, types.ProductionVariant{InstanceType: types.ProductionVariantInstanceTypeMlT2Medium, InitialInstanceCount: &one},
		types.Tag{Key: aws.String("stint:scale-to-zero"), Value: aws.String("1s")})
	e.inService(t)
	eventually(t, servingLimit, "the endpoint to sleep", func() bool { return len(s.agents(t)) == 0 })
	d, err := s.sagemaker().DescribeEndpoint(t.Context(), &sagemaker.DescribeEndpointInput{EndpointName: &e.name})
	if err != nil || d.EndpointStatus != types.EndpointStatusInService || aws.ToInt32(d.ProductionVariants[0].CurrentInstanceCount) != 0 {
		t.Errorf("%+v: %v", d, err)
	}
	eventually(t, 10*time.Second, "its line to be closed", func() bool { return !e.bill(t).Running })
	s.kill(t)
	s.up(t)
	eventually(t, 20*time.Second, "it to wake", func() bool { _, err := e.who(t); return err == nil })
	if b := e.bill(t); len(b.Lines) != 2 {
		t.Errorf("%+v", b)
	}
	e.delete(t)
}
