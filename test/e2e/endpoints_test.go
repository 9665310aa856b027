package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemakerruntime"
	runtimetypes "github.com/aws/aws-sdk-go-v2/service/sagemakerruntime/types"
	"github.com/aws/smithy-go"
)

// servingLimit bounds what an endpoint takes to come up on a busy machine.
const servingLimit = 2 * time.Minute

// serving is an endpoint of a server.
type serving struct {
	s    *server
	name string
}

// answer is what the program of the suites says of itself.
type answer struct {
	Add      int `json:"add"`
	Instance int `json:"instance"` // the model server's pid, as its instance sees it
	Worker   int `json:"worker"`
}

// deploy makes a model that adds a number and an endpoint with as many instances.
func (s *server) deploy(t *testing.T, name string, add int, instances int32) *serving {
	t.Helper()
	return s.deployAs(t, name, add, types.ProductionVariant{InstanceType: types.ProductionVariantInstanceTypeMlT2Medium, InitialInstanceCount: &instances})
}

// deployAs is deploy for a variant of any kind.
func (s *server) deployAs(t *testing.T, name string, add int, variant types.ProductionVariant, tags ...types.Tag) *serving {
	t.Helper()
	s.makeModel(t, name, add)
	return s.deployModel(t, name, variant, tags...)
}

// deployModel makes an endpoint of a model of its name.
func (s *server) deployModel(t *testing.T, name string, variant types.ProductionVariant, tags ...types.Tag) *serving {
	t.Helper()
	variant.VariantName, variant.ModelName = aws.String("AllTraffic"), &name
	return s.makeEndpoint(t, &sagemaker.CreateEndpointConfigInput{EndpointConfigName: &name, ProductionVariants: []types.ProductionVariant{variant}}, tags...)
}

// makeEndpoint makes a configuration and an endpoint of its name.
func (s *server) makeEndpoint(t *testing.T, config *sagemaker.CreateEndpointConfigInput, tags ...types.Tag) *serving {
	t.Helper()
	sm, name := s.sagemaker(), config.EndpointConfigName
	if _, err := sm.CreateEndpointConfig(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if _, err := sm.CreateEndpoint(t.Context(), &sagemaker.CreateEndpointInput{EndpointName: name, EndpointConfigName: name, Tags: tags}); err != nil {
		t.Fatal(err)
	}
	return &serving{s, *name}
}

// makeModel makes a model that adds a number.
func (s *server) makeModel(t *testing.T, name string, add int) {
	t.Helper()
	program, err := os.ReadFile(filepath.Join("serving", "inference.py"))
	if err != nil {
		t.Fatal(err)
	}
	key := name + "/model.tar.gz"
	s.put(t, key, tarball(t, map[string]string{"code/inference.py": string(program), "model.json": fmt.Sprintf(`{"add": %d}`, add)}))
	s.makeContainer(t, name, types.ContainerDefinition{
		Image: aws.String("stint/python:latest"), ModelDataUrl: aws.String("s3://" + bucket + "/" + key),
		Environment: map[string]string{"SAGEMAKER_MODEL_SERVER_WORKERS": "1"},
	})
}

// makeContainer makes a model of a container.
func (s *server) makeContainer(t *testing.T, name string, container types.ContainerDefinition) {
	t.Helper()
	_, err := s.sagemaker().CreateModel(t.Context(), &sagemaker.CreateModelInput{ModelName: &name, ExecutionRoleArn: aws.String(role), PrimaryContainer: &container})
	if err != nil {
		t.Fatal(err)
	}
}

// inService waits with the SDK's own waiter.
func (e *serving) inService(t *testing.T) {
	t.Helper()
	wait := sagemaker.NewEndpointInServiceWaiter(e.s.sagemaker(), func(o *sagemaker.EndpointInServiceWaiterOptions) {
		o.MinDelay, o.MaxDelay = 100*time.Millisecond, time.Second
	})
	if err := wait.Wait(t.Context(), &sagemaker.DescribeEndpointInput{EndpointName: &e.name}, servingLimit); err != nil {
		t.Fatalf("%s: %v", e.name, err)
	}
}

// invoke asks the endpoint, once: what fails is not tried again.
func (e *serving) invoke(t *testing.T, body string) (*sagemakerruntime.InvokeEndpointOutput, error) {
	t.Helper()
	client := sagemakerruntime.NewFromConfig(e.s.config(), func(o *sagemakerruntime.Options) { o.Retryer = aws.NopRetryer{} })
	return client.InvokeEndpoint(t.Context(), &sagemakerruntime.InvokeEndpointInput{
		EndpointName: &e.name, ContentType: aws.String("application/json"), Body: []byte(body),
	})
}

// who asks the program what it is.
func (e *serving) who(t *testing.T) (answer, error) {
	t.Helper()
	var a answer
	out, err := e.invoke(t, "{}")
	if err == nil {
		err = json.Unmarshal(out.Body, &a)
	}
	return a, err
}

// TestGoSDKRuntime invokes an endpoint with the AWS SDK for Go.
func TestGoSDKRuntime(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	s.makeBucket(t)
	e := s.deploy(t, "from-go", 5, 1)
	e.inService(t)
	out, err := e.invoke(t, "[[1, 2]]")
	if err != nil || !bytes.Equal(bytes.Join(bytes.Fields(out.Body), nil), []byte("[[6,7]]")) || *out.InvokedProductionVariant != "AllTraffic" {
		t.Fatalf("%+v: %v", out, err)
	}
	_, err = e.invoke(t, `{"fault": "as told"}`)
	var failure *runtimetypes.ModelError
	if !errors.As(err, &failure) || aws.ToInt32(failure.OriginalStatusCode) != 500 || !bytes.Contains([]byte(aws.ToString(failure.OriginalMessage)), []byte("as told")) {
		t.Errorf("%#v", err)
	}
	var refused smithy.APIError
	nobody := &serving{s, "nobody"}
	if _, err = nobody.invoke(t, "[[1]]"); !errors.As(err, &refused) || refused.ErrorCode() != "ValidationError" {
		t.Errorf("%v", err)
	}
	e.delete(t)
}

// delete deletes the endpoint and waits until nothing of it is left.
func (e *serving) delete(t *testing.T) {
	t.Helper()
	e.remove(t)
	eventually(t, 20*time.Second, "the agents to be gone", func() bool { return len(e.s.agents(t)) == 0 })
}

// remove is delete for an endpoint that is not the server's only one.
func (e *serving) remove(t *testing.T) {
	t.Helper()
	sm := e.s.sagemaker()
	if _, err := sm.DeleteEndpoint(t.Context(), &sagemaker.DeleteEndpointInput{EndpointName: &e.name}); err != nil {
		t.Fatal(err)
	}
	wait := sagemaker.NewEndpointDeletedWaiter(sm, func(o *sagemaker.EndpointDeletedWaiterOptions) {
		o.MinDelay, o.MaxDelay = 100*time.Millisecond, time.Second
	})
	if err := wait.Wait(t.Context(), &sagemaker.DescribeEndpointInput{EndpointName: &e.name}, servingLimit); err != nil {
		t.Fatal(err)
	}
}

// The server may be killed while an endpoint serves: it answers again by itself, from the very same container.
func TestServerKilledWhileServing(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	s.makeBucket(t)
	e := s.deploy(t, "stays", 1, 1)
	e.inService(t)
	was, err := e.who(t)
	if err != nil {
		t.Fatal(err)
	}
	agents := s.agents(t)
	for range 2 {
		s.kill(t)
		s.up(t)
		var now answer
		eventually(t, 20*time.Second, "the endpoint to answer again", func() bool {
			now, err = e.who(t)
			return err == nil
		})
		if now != was {
			t.Errorf("it was %+v and is %+v", was, now)
		}
		if got := s.agents(t); !slices.Equal(got, agents) {
			t.Errorf("agents %v were %v", got, agents)
		}
	}
	e.delete(t)
	var bill struct {
		Costs []struct{ Lines []struct{ Seconds int64 } }
	}
	out, err := s.stint(t, "cost", "stays", "--json").Output()
	if err != nil || json.Unmarshal(out, &bill) != nil || len(bill.Costs) != 1 || len(bill.Costs[0].Lines) != 1 {
		t.Errorf("the bill is %s: %v", out, stderr(err))
	}
}

// A server that is killed while an endpoint comes up or goes finishes what was asked of it.
func TestServerKilledWhileAnEndpointChanges(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	s.makeBucket(t)
	e := s.deploy(t, "comes", 1, 2)
	s.kill(t)
	s.up(t)
	e.inService(t)
	if n := len(s.agents(t)); n != 2 {
		t.Errorf("%d agents", n)
	}
	sm := s.sagemaker()
	if _, err := sm.DeleteEndpoint(t.Context(), &sagemaker.DeleteEndpointInput{EndpointName: &e.name}); err != nil {
		t.Fatal(err)
	}
	s.kill(t)
	s.up(t)
	eventually(t, servingLimit, "the endpoint to be gone", func() bool {
		_, err := s.sagemaker().DescribeEndpoint(t.Context(), &sagemaker.DescribeEndpointInput{EndpointName: &e.name})
		return err != nil && len(s.agents(t)) == 0
	})
}

// An instance whose agent is killed is replaced, and those beside it go on answering.
func TestAgentKilledWhileServing(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	s.makeBucket(t)
	e := s.deploy(t, "heals", 1, 2)
	e.inService(t)
	before := s.agents(t)
	if len(before) != 2 {
		t.Fatalf("agents %v", before)
	}
	if err := syscall.Kill(before[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var asked, lost atomic.Int64
	eventually(t, servingLimit, "another instance", func() bool {
		asked.Add(1)
		if _, err := e.who(t); err != nil {
			lost.Add(1)
		}
		d, err := s.sagemaker().DescribeEndpoint(t.Context(), &sagemaker.DescribeEndpointInput{EndpointName: &e.name})
		if err != nil {
			t.Fatal(err)
		}
		now := s.agents(t)
		return len(now) == 2 && !slices.Contains(now, before[0]) && aws.ToInt32(d.ProductionVariants[0].CurrentInstanceCount) == 2
	})
	if lost.Load() > 1 { // the one that may have been under way
		t.Errorf("%d of %d invocations failed", lost.Load(), asked.Load())
	}
	e.delete(t)
}

// TestDeployWithoutAnySDK is a user who has a model and a script, and only the command line.
func TestDeployWithoutAnySDK(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	folder := t.TempDir()
	model := filepath.Join(folder, "model.tar.gz")
	if err := os.WriteFile(model, tarball(t, map[string]string{"model.json": `{"add": 7}`, "code/inference.py": "an older one"}), 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		t.Helper()
		out, err := s.stint(t, args...).Output()
		if err != nil {
			t.Fatalf("stint %v: %v", args, stderr(err))
		}
		return string(out)
	}
	run("deploy", model, "--script", filepath.Join("serving", "inference.py"), "--name", "seven", "--env", "SAGEMAKER_MODEL_SERVER_WORKERS=1")
	if got := run("invoke", "seven", "--data", "[[1, 2]]"); got != "[[8, 9]]" {
		t.Errorf("the endpoint says %q", got)
	}
	if out, err := s.stint(t, "invoke", "seven", "--data", `{"fault": "as told"}`).CombinedOutput(); err == nil || !bytes.Contains(out, []byte("as told")) {
		t.Errorf("a fault of the model is told as %s: %v", out, err)
	}
	eventually(t, 10*time.Second, "the log", func() bool {
		return bytes.Contains([]byte(run("endpoint", "logs", "seven")), []byte("the model adds 7\n"))
	})
	if out := run("endpoint", "delete", "seven"); out != "seven  deleted\n" {
		t.Errorf("%q", out)
	}
	if n := len(s.agents(t)); n != 0 {
		t.Errorf("%d agents are left", n)
	}
	// A model that does not load fails the command, and says why.
	bad := filepath.Join(folder, "bad.tar.gz")
	if err := os.WriteFile(bad, tarball(t, map[string]string{"model.json": `{"add": 7, "fault": "the weights are torn"}`}), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := s.stint(t, "deploy", bad, "--script", filepath.Join("serving", "inference.py"), "--name", "torn").CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("the weights are torn")) {
		t.Errorf("%s: %v", out, err)
	}
}
