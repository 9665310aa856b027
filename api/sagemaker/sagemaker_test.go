package sagemaker_test

import (
	"strings"
	"testing"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/api/sagemaker"
	"github.com/stint-ml/stint/drivers/store/memory"
	"github.com/stint-ml/stint/platform/catalog"
)

func TestScenarios(t *testing.T) {
	t.Parallel()
	own, err := catalog.Read(strings.NewReader(catalog.Header + "\nml.box.huge,2,8,,0,0,0.115,,USD\nml.m5.large,2,8,,0,0,0.115,,USD\n" +
		"serverless,,1,,,,0.072,,USD\nserverless.provisioned,,1,,,,0.018,,USD\nserverless.provisioned-use,,1,,,,0.0414,,USD\n"))
	if err != nil {
		t.Fatal(err)
	}
	apitest.PlayAll(t, func(t *testing.T, _ string) *apitest.Door {
		return apitest.Open(t, memory.New(), func(d *apitest.Door) []*api.Service {
			return []*api.Service{sagemaker.New(sagemaker.Config{Store: d.Store, Catalog: own})}
		})
	})
}
