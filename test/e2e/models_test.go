package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemakerruntime"
	runtimetypes "github.com/aws/aws-sdk-go-v2/service/sagemakerruntime/types"
	"github.com/aws/smithy-go"
)

// ask asks one of many models, once, and gives what it adds.
func (e *serving) ask(t *testing.T, model string) (answer, error) {
	t.Helper()
	client := sagemakerruntime.NewFromConfig(e.s.config(), func(o *sagemakerruntime.Options) { o.Retryer = aws.NopRetryer{} })
	in := &sagemakerruntime.InvokeEndpointInput{EndpointName: &e.name, ContentType: aws.String("application/json"), Body: []byte("{}")}
	if model != "" {
		in.TargetModel = &model
	}
	var a answer
	out, err := client.InvokeEndpoint(t.Context(), in)
	if err == nil {
		err = json.Unmarshal(out.Body, &a)
	}
	return a, err
}

// putModel puts a model that adds a number below the prefix of an endpoint's models.
func (s *server) putModel(t *testing.T, endpoint, name, model string) {
	t.Helper()
	program, err := os.ReadFile(filepath.Join("serving", "inference.py"))
	if err != nil {
		t.Fatal(err)
	}
	s.put(t, endpoint+"/models/"+name, tarball(t, map[string]string{"code/inference.py": string(program), "model.json": model}))
}

// deployMany makes an endpoint of many models.
func (s *server) deployMany(t *testing.T, name string, instances int32) *serving {
	t.Helper()
	variant := one
	variant.InitialInstanceCount = &instances
	s.makeContainer(t, name, types.ContainerDefinition{
		Image: aws.String("stint/python:latest"), Mode: types.ContainerModeMultiModel,
		ModelDataUrl: aws.String("s3://" + bucket + "/" + name + "/models/"),
	})
	return s.deployModel(t, name, variant)
}

// refusedAs checks the code of an error and words of its message.
func refusedAs(t *testing.T, err error, code string, words ...string) {
	t.Helper()
	var refused smithy.APIError
	if !errors.As(err, &refused) || refused.ErrorCode() != code {
		t.Errorf("%v, want %s", err, code)
		return
	}
	for _, word := range words {
		if !strings.Contains(refused.ErrorMessage(), word) {
			t.Errorf("%s does not say %q", refused.ErrorMessage(), word)
		}
	}
}

// workers counts the processes of the program below a server's agents: the server of the models, and one for each that is loaded.
func (s *server) workers(t *testing.T) (n int, memory int64) {
	t.Helper()
	below := map[int]bool{}
	for _, pid := range s.agents(t) {
		below[pid] = true
	}
	for found := true; found; {
		found = false
		files, _ := filepath.Glob("/proc/[0-9]*/stat")
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				continue
			}
			var pid, parent int
			var state string
			_, _ = fmt.Sscan(string(text), &pid)
			_, _ = fmt.Sscan(string(text[strings.LastIndexByte(string(text), ')')+1:]), &state, &parent)
			if below[parent] && !below[pid] {
				below[pid], found = true, true
				var size, resident int64
				if statm, err := os.ReadFile(filepath.Join(filepath.Dir(file), "statm")); err == nil {
					_, _ = fmt.Sscan(string(statm), &size, &resident)
				}
				memory += resident * int64(os.Getpagesize())
				n++
			}
		}
	}
	return n, memory
}

// askAll asks all models at once and one after the other, and looks at what that takes of memory.
func (e *serving) askAll(t *testing.T, names []string) {
	t.Helper()
	var bound sync.WaitGroup
	for w := range 3 {
		bound.Go(func() {
			for i := range names {
				i = (i + 7*w) % len(names)
				if got, err := e.ask(t, names[i]); err != nil || got.Add != i {
					t.Errorf("%s adds %d: %v", names[i], got.Add, err)
				}
			}
		})
	}
	bound.Wait()
	if n, memory := e.s.workers(t); n < 2 || n > 10 || memory > 600<<20 {
		t.Errorf("%d processes use %d MiB", n, memory>>20)
	}
}

// askWrongly asks for models that cannot be had, and without naming one.
func (e *serving) askWrongly(t *testing.T, good string) {
	t.Helper()
	_, err := e.ask(t, "nobody.tar.gz")
	refusedAs(t, err, "ValidationError", "Failed to download model data(bucket: "+bucket+", key: many/models/nobody.tar.gz)")
	_, err = e.ask(t, "text.tar.gz")
	refusedAs(t, err, "ValidationError", "not a usable .tar.gz archive")
	_, err = e.ask(t, "../secret.tar.gz")
	refusedAs(t, err, "ValidationError")
	_, err = e.ask(t, "")
	refusedAs(t, err, "ValidationError", "is missing a target model header")
	_, err = e.ask(t, "torn.tar.gz")
	var failure *runtimetypes.ModelError
	if !errors.As(err, &failure) || aws.ToInt32(failure.OriginalStatusCode) != 500 || !strings.Contains(aws.ToString(failure.OriginalMessage), "the weights are torn") {
		t.Errorf("%v", err)
	}
	single := e.s.deploy(t, "single", 1, 1)
	single.inService(t)
	_, err = single.ask(t, good)
	refusedAs(t, err, "ValidationError", "Endpoint single is not a multi-model endpoint and does not support target model header.")
	single.remove(t)
}

// Twenty models behind an instance that has memory for five: all answer, whoever asks, and its memory stays bounded. Server and
// agent may be killed meanwhile.
func TestManyModelsOnLittleMemory(t *testing.T) {
	t.Parallel()
	s := prepare(t, roomy...)
	s.smallInstances(t, "0.45")
	s.up(t)
	s.makeBucket(t)
	var names []string
	for i := range 20 {
		names = append(names, fmt.Sprintf("team-%d/model-%d.tar.gz", i%3, i))
		s.putModel(t, "many", names[i], fmt.Sprintf(`{"add": %d, "weighs": 50}`, i))
	}
	s.putModel(t, "many", "torn.tar.gz", `{"add": 0, "fault": "the weights are torn"}`)
	s.put(t, "many/models/text.tar.gz", []byte("this is no archive"))
	e := s.deployMany(t, "many", 1)
	e.inService(t)
	// 1. All answer, one after the other and at once.
	e.askAll(t, names)
	// 2. What cannot be had, and who asks wrongly.
	e.askWrongly(t, names[0])
	// 3. The server is killed: the model stays loaded where it was.
	was, err := e.ask(t, names[0])
	if err != nil {
		t.Fatal(err)
	}
	s.kill(t)
	s.up(t)
	eventually(t, 30*time.Second, "an answer again", func() bool {
		now, err := e.ask(t, names[0])
		if err == nil && now != was {
			t.Errorf("it was %+v and is %+v", was, now)
		}
		return err == nil
	})
	// 4. The agent is killed: another instance loads what it is asked for.
	if err := syscall.Kill(s.agents(t)[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, servingLimit, "an answer of another instance", func() bool {
		now, err := e.ask(t, names[0])
		return err == nil && now.Add == 0
	})
	e.delete(t)
}

// Each model of an endpoint is loaded on one of its instances, as long as that has time.
func TestModelsKeepToTheirInstances(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	s.makeBucket(t)
	e := s.deployMany(t, "spread", 2)
	for i := range 6 {
		s.putModel(t, "spread", fmt.Sprintf("m%d.tar.gz", i), fmt.Sprintf(`{"add": %d}`, i))
	}
	e.inService(t)
	for i := range 6 {
		first, err := e.ask(t, fmt.Sprintf("m%d.tar.gz", i))
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if again, err := e.ask(t, fmt.Sprintf("m%d.tar.gz", i)); err != nil || again != first {
				t.Errorf("model %d was %+v and is %+v: %v", i, first, again, err)
			}
		}
	}
	out, err := s.stint(t, "invoke", "spread", "--model", "m3.tar.gz", "--data", "[[1]]").Output()
	if err != nil || string(out) != "[[4]]" {
		t.Errorf("the command line is told %q: %v", out, stderr(err))
	}
	e.delete(t)
}
