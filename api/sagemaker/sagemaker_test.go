package sagemaker_test

import (
	"path/filepath"
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
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			d := apitest.Open(t, memory.New(), func(d *apitest.Door) []*api.Service {
				return []*api.Service{sagemaker.New(sagemaker.Config{Store: d.Store, Catalog: own})}
			})
			apitest.Play(t, d, file)
			if log := d.Log.String(); log != "" {
				t.Errorf("something was logged: %s", log)
			}
		})
	}
}
