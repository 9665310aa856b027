package sts_test

import (
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/api/iam"
	"github.com/stint-ml/stint/api/sts"
	"github.com/stint-ml/stint/drivers/store/memory"
)

func open(t testing.TB) *apitest.Door {
	return apitest.Open(t, memory.New(), func(d *apitest.Door) []*api.Service {
		return []*api.Service{iam.New(d.Store, d.Identities, d.Random), sts.New(d.Store, d.Random)}
	})
}

func TestScenarios(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			d := open(t)
			apitest.Play(t, d, file)
			if log := d.Log.String(); log != "" {
				t.Errorf("something was logged: %s", log)
			}
		})
	}
}

func TestSessionPoliciesAreBounded(t *testing.T) {
	t.Parallel()
	d := open(t)
	policy := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:` + strings.Repeat("x", 2048) + `","Resource":"*"}}`
	status, body := d.Query(t, apitest.Of(d.Root), "sts", url.Values{
		"Action": {"AssumeRole"}, "RoleArn": {"arn:aws:iam::123456789012:role/StintExecutionRole"}, "RoleSessionName": {"xx"}, "Policy": {policy},
	})
	if status != http.StatusBadRequest || !strings.Contains(body, "<Code>PackedPolicyTooLarge</Code>") {
		t.Errorf("%d %s", status, body)
	}
}
