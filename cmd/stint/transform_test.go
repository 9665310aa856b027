package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/decide/bill"
	"github.com/stint-ml/stint/platform"
)

// transform asks for a batch transform job by the API.
func (b *bundle) transform(name, instances string) {
	b.t.Helper()
	status, answer := b.door.JSON(b.t, apitest.Of(b.door.Root), "sagemaker", "SageMaker.CreateTransformJob", `{"TransformJobName": "`+name+`", "ModelName": "digits",
		"TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/in/"}}}, "TransformOutput": {"S3OutputPath": "s3://bucket/out/"},
		"TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": `+instances+`}}`)
	if status != 200 {
		b.t.Fatalf("create %s: %d %s", name, status, answer)
	}
}

// transforms edits a batch transform job as the control plane would, with ledger entries beside it.
func (b *bundle) transforms(name string, edit func(*platform.TransformStatus) error, ledger ...platform.LedgerEntry) {
	b.t.Helper()
	rec, err := b.door.Store.Get(context.Background(), platform.Key{Kind: platform.KindTransformJob, Name: name})
	if err != nil {
		b.t.Fatal(err)
	}
	job, err := platform.ReadTransformJob(rec)
	if err == nil {
		err = edit(&job.Status)
	}
	if err == nil {
		rec, err = job.Record(rec, b.door.Clock.Now())
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.commit(platform.Tx{Puts: []platform.Put{{Record: rec}}, Ledger: ledger})
}

// TestBatchTransformsAreJobs plays testdata/transforms.txt: what the commands for jobs make of batch transform jobs.
func TestBatchTransformsAreJobs(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.serve("digits")
	b.create("trained")
	b.door.Clock.Advance(time.Minute)
	b.transform("scored", "2")
	opened := b.line("scored", 1, platform.OnDemand, usd(115_000_000))
	opened.Resource, opened.Count = apitest.Site.ARN("sagemaker", "transform-job/scored"), 2
	b.transforms("scored", func(st *platform.TransformStatus) error {
		st.Started = b.door.Clock.Now()
		return nil
	}, opened)
	b.door.Clock.Advance(90 * time.Second)
	b.transforms("scored", func(st *platform.TransformStatus) error {
		return st.Enter(platform.JobCompleted, b.door.Clock.Now())
	}, bill.Close(opened, b.door.Clock.Now()))
	b.door.Clock.Advance(time.Hour)
	b.transform("scoring", "1")
	b.transforms("scoring", func(st *platform.TransformStatus) error {
		st.Started = b.door.Clock.Now()
		return nil
	})
	b.door.Clock.Advance(3 * time.Second)
	b.transform("to-come", "1")
	b.play("transforms.txt")
	for command, want := range map[string]string{"describe": "scoring\tStopping\nscored\tCompleted\n", "delete": ":"} {
		b.execute(t.Context(), []string{"__complete", "--home", string(b.home), command, "s"})
		if out := b.out.take(); !strings.HasPrefix(out, want) {
			t.Errorf("%s offers %q", command, out)
		}
	}
}
