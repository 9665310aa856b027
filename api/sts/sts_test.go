package sts_test

import (
	"net/http"
	"net/url"
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
	apitest.PlayAll(t, func(t *testing.T, _ string) *apitest.Door { return open(t) })
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
