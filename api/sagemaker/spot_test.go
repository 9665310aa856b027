package sagemaker_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/api/sagemaker"
	"github.com/stint-ml/stint/drivers/store/memory"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/platform/catalog"
)

// spotJob is a request for a managed spot job; more is JSON that follows its members.
func spotJob(name, stopping, more string) string {
	return `{"TrainingJobName": "` + name + `", "RoleArn": "arn:aws:iam::123456789012:role/StintExecutionRole",
		"AlgorithmSpecification": {"TrainingImage": "python", "TrainingInputMode": "File"}, "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
		"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30}, "EnableManagedSpotTraining": true,
		"StoppingCondition": {` + stopping + `}` + more + `}`
}

const overAnHour = `"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 3601`

func openSpot(t *testing.T, require bool) (*apitest.Door, func(operation, body string) (int, string)) {
	t.Helper()
	d := apitest.Open(t, memory.New(), func(d *apitest.Door) []*api.Service {
		return []*api.Service{sagemaker.New(sagemaker.Config{Store: d.Store, Catalog: catalog.BuiltIn("aws"), RequireCheckpoints: require})}
	})
	return d, func(operation, body string) (int, string) {
		return d.JSON(t, apitest.Of(d.Root), "sagemaker", "SageMaker."+operation, body)
	}
}

func TestAServerMayRequireCheckpoints(t *testing.T) {
	t.Parallel()
	_, call := openSpot(t, true)
	status, answer := call("CreateTrainingJob", spotJob("unsaved", overAnHour, ""))
	if status != 400 || !strings.Contains(answer, "ValidationException") || !strings.Contains(answer, "without CheckpointConfig") ||
		!strings.Contains(answer, "--spot-require-checkpoints") {
		t.Errorf("%d %s", status, answer)
	}
	for name, request := range map[string]string{
		"saved": spotJob("saved", overAnHour, `, "CheckpointConfig": {"S3Uri": "s3://bucket/ck"}`),
		"short": spotJob("short", `"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 3600`, ""),
	} {
		if status, answer := call("CreateTrainingJob", request); status != 200 {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
}

// stored reads a job from the store.
func stored(t *testing.T, d *apitest.Door, name string) (platform.Record, *platform.TrainingJob) {
	t.Helper()
	rec, err := d.Store.Get(t.Context(), platform.Key{Kind: platform.KindTrainingJob, Name: name})
	if err != nil {
		t.Fatal(err)
	}
	job, err := platform.ReadTrainingJob(rec)
	if err != nil {
		t.Fatal(err)
	}
	return rec, job
}

func TestTermsAreKeptWithTheJob(t *testing.T) {
	t.Parallel()
	d, call := openSpot(t, false)
	status, answer := call("CreateTrainingJob", spotJob("job", overAnHour,
		`, "Tags": [{"Key": "stint:deadline", "Value": "50m"}, {"Key": "stint:fallback", "Value": "on-demand"}]`))
	if status != 200 {
		t.Fatalf("%d %s", status, answer)
	}
	_, job := stored(t, d, "job")
	if now := d.Clock.Now(); !job.Status.Fallback || !job.Status.Deadline.Equal(now.Add(50*time.Minute)) || !job.Expires().Equal(now.Add(3601*time.Second)) {
		t.Errorf("fallback %v, deadline %v, expires %v", job.Status.Fallback, job.Status.Deadline, job.Expires())
	}
	if status, answer := call("CreateTrainingJob", spotJob("spot-only", overAnHour, `, "Tags": [{"Key": "stint:fallback", "Value": "none"}]`)); status != 200 {
		t.Fatalf("%d %s", status, answer)
	}
	if _, job := stored(t, d, "spot-only"); job.Status.Fallback || !job.Status.Deadline.IsZero() {
		t.Errorf("a job on spot alone: fallback %v, deadline %v", job.Status.Fallback, job.Status.Deadline)
	}
}

// TestSavings: 100 of 500 seconds are billed, which the SDK prints as 80 %; the hour of waiting in between counts for neither.
func TestSavings(t *testing.T) {
	t.Parallel()
	d, call := openSpot(t, false)
	if status, answer := call("CreateTrainingJob", spotJob("job", overAnHour, "")); status != 200 {
		t.Fatalf("%d %s", status, answer)
	}
	rec, job := stored(t, d, "job")
	st, begin := &job.Status, d.Clock.Now()
	after := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
	for _, move := range []struct {
		phase platform.JobPhase
		at    int
	}{
		{platform.JobDownloading, 1}, {platform.JobTraining, 2}, {platform.JobInterrupted, 301}, {platform.JobStarting, 3901},
		{platform.JobDownloading, 3902}, {platform.JobTraining, 3903}, {platform.JobUploading, 4100}, {platform.JobPhaseCompleted, 4102},
	} {
		if err := st.Enter(move.phase, after(move.at), "m"); err != nil {
			t.Fatal(err)
		}
	}
	st.Started, st.Billable = after(1), 100
	st.Attempts = []platform.Attempt{
		{Number: 1, Started: after(1), Ended: after(301), Seconds: 300}, {Number: 2, Started: after(3902), Ended: after(4102), Seconds: 200},
	}
	rec, err := job.Record(rec, after(4102))
	if err == nil {
		err = d.Store.Commit(t.Context(), platform.Tx{Puts: []platform.Put{{Record: rec}}})
	}
	if err != nil {
		t.Fatal(err)
	}
	_, answer := call("DescribeTrainingJob", `{"TrainingJobName": "job"}`)
	var said struct {
		TrainingTimeInSeconds, BillableTimeInSeconds int
		EnableManagedSpotTraining                    bool
		SecondaryStatusTransitions                   []struct{ Status string }
	}
	if err := json.Unmarshal([]byte(answer), &said); err != nil {
		t.Fatal(err)
	}
	if said.TrainingTimeInSeconds != 500 || said.BillableTimeInSeconds != 100 || !said.EnableManagedSpotTraining || len(said.SecondaryStatusTransitions) != 9 {
		t.Errorf("%+v", said)
	}
}
