package e2e

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	runtimetypes "github.com/aws/aws-sdk-go-v2/service/sagemakerruntime/types"
)

// one is a variant of one small instance.
var one = types.ProductionVariant{InstanceType: types.ProductionVariantInstanceTypeMlT2Medium, InitialInstanceCount: aws.Int32(1)}

// fragile makes an endpoint of a container whose health goes when it is told so.
func (s *server) fragile(t *testing.T, name string) *serving {
	t.Helper()
	program, err := os.ReadFile(filepath.Join("serving", "fragile.py"))
	if err != nil {
		t.Fatal(err)
	}
	key := name + "/model.tar.gz"
	s.put(t, key, tarball(t, map[string]string{"serve": string(program)}))
	s.makeContainer(t, name, types.ContainerDefinition{
		Image: aws.String("stint/exec:latest"), ModelDataUrl: aws.String("s3://" + bucket + "/" + key),
	})
	return s.deployModel(t, name, one)
}

// says asks a fragile container, which says who it is; empty when it does not answer.
func (e *serving) says(t *testing.T, body string) string {
	t.Helper()
	out, err := e.invoke(t, body)
	if err != nil {
		return ""
	}
	return string(out.Body)
}

// replaced waits for an answer of another container than the one that fell ill.
func (e *serving) replaced(t *testing.T, was string) {
	t.Helper()
	eventually(t, 4*time.Minute, "another container", func() bool { now := e.says(t, "who"); return now != "" && now != was })
}

// leaks lets a worker use up the memory of its instance.
func (s *server) leaks(t *testing.T) {
	t.Helper()
	e := s.deploy(t, "leaks", 3, 1)
	e.inService(t)
	was, err := e.who(t)
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.invoke(t, `{"leaks": 2000}`)
	var failure *runtimetypes.ModelError
	if !errors.As(err, &failure) || !bytes.Contains([]byte(aws.ToString(failure.OriginalMessage)), []byte("memory")) {
		t.Errorf("%v", err)
	}
	eventually(t, servingLimit, "an answer again", func() bool {
		now, err := e.who(t)
		return err == nil && now != was && now.Add == 3
	})
}

// TestContainersThatDoNotStayHealthy runs endpoints whose containers fall ill in service, beside one that is only busy.
func TestContainersThatDoNotStayHealthy(t *testing.T) {
	t.Parallel()
	s := prepare(t, roomy...)
	s.smallInstances(t, "0.3")
	s.up(t)
	s.makeBucket(t)
	t.Run("its pings are answered with errors", func(t *testing.T) {
		t.Parallel()
		e := s.fragile(t, "sickens")
		e.inService(t)
		was := e.says(t, "sicken")
		e.replaced(t, was)
	})
	t.Run("it hangs", func(t *testing.T) {
		t.Parallel()
		e := s.fragile(t, "hangs")
		e.inService(t)
		was := e.says(t, "who")
		// The caller has AWS's minute, and the container as long again as it may be busy.
		if _, err := e.invoke(t, "sleep 1000"); err == nil || !strings.Contains(err.Error(), "timed out") {
			t.Errorf("%v", err)
		}
		e.replaced(t, was)
	})
	t.Run("it is busy", func(t *testing.T) {
		t.Parallel()
		e := s.fragile(t, "busy")
		e.inService(t)
		was := e.says(t, "who")
		for range 2 {
			if now := e.says(t, "sleep 45"); now != was || was == "" {
				t.Errorf("the container was %q, and %q answers", was, now)
			}
		}
	})
	t.Run("it breaks off", func(t *testing.T) {
		t.Parallel()
		e := s.fragile(t, "breaks")
		e.inService(t)
		if out, err := e.invoke(t, "break"); err == nil {
			t.Errorf("half of an answer looks whole: %q", out.Body)
		}
		if e.says(t, "who") == "" {
			t.Error("it does not answer any more")
		}
	})
	t.Run("it leaks", func(t *testing.T) {
		t.Parallel()
		s.leaks(t)
	})
}

// smallInstances gives ml.t2.medium as many GiB of memory.
func (s *server) smallInstances(t *testing.T, gib string) {
	t.Helper()
	lines := "instance_type,vcpu,memory_gib,accelerator,accelerators,accelerator_memory_gib,sagemaker_per_hour,ec2_per_hour,currency\n" +
		"ml.t2.medium,2," + gib + ",,0,0,0.056,0.0464,USD\n"
	if err := os.WriteFile(filepath.Join(s.home, "catalog.csv"), []byte(lines), 0o644); err != nil {
		t.Fatal(err)
	}
}
