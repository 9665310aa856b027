package e2e

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

// TestGoSDK drives the services with the AWS SDK for Go, which has no setting but what `stint env` exports.
func TestGoSDK(t *testing.T) {
	s := start(t, roomy...)
	for _, v := range s.env(t) { // this process's own environment: not parallel
		if name, value, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, value)
		}
	}
	cfg, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Run("training", func(t *testing.T) { goTraining(t, cfg) })
	t.Run("identities", func(t *testing.T) { goIdentities(t, cfg) })
	t.Run("metrics", func(t *testing.T) { goMetrics(t, cfg) })
}

// goTraining is create → wait → log → delete.
func goTraining(t *testing.T, cfg aws.Config) {
	goUpload(t, cfg)
	sm := sagemaker.NewFromConfig(cfg)
	in := request("from-go", "cat /opt/ml/input/data/train/data; echo weights > /opt/ml/model/w", input("train", "s3://"+bucket+"/in/"))
	created, err := sm.CreateTrainingJob(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	wait := sagemaker.NewTrainingJobCompletedOrStoppedWaiter(sm, func(o *sagemaker.TrainingJobCompletedOrStoppedWaiterOptions) {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, 200*time.Millisecond
	})
	d, err := wait.WaitForOutput(t.Context(), &sagemaker.DescribeTrainingJobInput{TrainingJobName: in.TrainingJobName}, 30*time.Second)
	if err != nil || d.TrainingJobStatus != completed || *d.TrainingJobArn != *created.TrainingJobArn {
		t.Fatalf("%+v: %v", d, err)
	}
	list := sagemaker.NewListTrainingJobsPaginator(sm, &sagemaker.ListTrainingJobsInput{StatusEquals: completed})
	for list.HasMorePages() {
		page, err := list.NextPage(t.Context())
		if err != nil || len(page.TrainingJobSummaries) != 1 {
			t.Fatalf("%+v: %v", page, err)
		}
	}
	found, err := cloudwatchlogs.NewFromConfig(cfg).FilterLogEvents(t.Context(), &cloudwatchlogs.FilterLogEventsInput{
		LogGroupName: aws.String(jobLogs), LogStreamNamePrefix: aws.String("from-go/"),
	})
	if err != nil || len(found.Events) != 1 || *found.Events[0].Message != "from Go" {
		t.Fatalf("%+v: %v", found, err)
	}
	goRefusals(t, sm, in)
}

func goUpload(t *testing.T, cfg aws.Config) {
	t.Helper()
	objects := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })
	if _, err := objects.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(bucket)}); err != nil {
		t.Fatal(err)
	}
	_, err := objects.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("in/data"), Body: strings.NewReader("from Go")})
	if err != nil {
		t.Fatal(err)
	}
}

// goRefusals deletes a job and does what is refused.
func goRefusals(t *testing.T, sm *sagemaker.Client, in *sagemaker.CreateTrainingJobInput) {
	t.Helper()
	if _, err := sm.DeleteTrainingJob(t.Context(), &sagemaker.DeleteTrainingJobInput{TrainingJobName: in.TrainingJobName}); err != nil {
		t.Fatal(err)
	}
	_, err := sm.DescribeTrainingJob(t.Context(), &sagemaker.DescribeTrainingJobInput{TrainingJobName: in.TrainingJobName})
	wantCode(t, err, "ResourceNotFound")
	_, err = sm.CreateTrainingJob(t.Context(), request("-bad", "true"))
	wantCode(t, err, "ValidationException")
	_, err = sm.ListPipelines(t.Context(), &sagemaker.ListPipelinesInput{})
	wantCode(t, err, "UnsupportedOperation")
}

// goMetrics calls CloudWatch, to which this SDK speaks CBOR.
func goMetrics(t *testing.T, cfg aws.Config) {
	metrics := cloudwatch.NewFromConfig(cfg)
	at := time.Now().UTC().Add(-time.Hour).Truncate(time.Minute)
	var data []cwtypes.MetricDatum
	for i := range 500 { // enough to be sent compressed
		data = append(data, cwtypes.MetricDatum{
			MetricName: aws.String("loss"), Value: aws.Float64(float64(i) / 4), Timestamp: aws.Time(at.Add(time.Duration(i) * 100 * time.Millisecond)),
			Dimensions: []cwtypes.Dimension{{Name: aws.String("Who"), Value: aws.String("gö")}}, Unit: cwtypes.StandardUnitSeconds,
		})
	}
	if _, err := metrics.PutMetricData(t.Context(), &cloudwatch.PutMetricDataInput{Namespace: aws.String("go"), MetricData: data}); err != nil {
		t.Fatal(err)
	}
	ask := &cloudwatch.GetMetricStatisticsInput{
		Namespace: aws.String("go"), MetricName: aws.String("loss"), Dimensions: data[0].Dimensions, Period: aws.Int32(60),
		StartTime: aws.Time(at), EndTime: aws.Time(at.Add(time.Minute)), Statistics: []cwtypes.Statistic{cwtypes.StatisticSampleCount, cwtypes.StatisticMaximum},
	}
	got, err := metrics.GetMetricStatistics(t.Context(), ask)
	if err != nil || len(got.Datapoints) != 1 {
		t.Fatalf("%+v: %v", got, err)
	}
	if p := got.Datapoints[0]; *p.SampleCount != 500 || *p.Maximum != 499.0/4 || !p.Timestamp.Equal(at) || p.Unit != cwtypes.StandardUnitSeconds {
		t.Errorf("%v %v at %v in %v", *p.SampleCount, *p.Maximum, p.Timestamp, p.Unit)
	}
	list, err := metrics.ListMetrics(t.Context(), &cloudwatch.ListMetricsInput{Namespace: aws.String("go")})
	if err != nil || len(list.Metrics) != 1 || *list.Metrics[0].Dimensions[0].Value != "gö" {
		t.Errorf("%+v: %v", list, err)
	}
	goMetricsRefused(t, metrics, ask, data[0])
	goAlarms(t, metrics, at)
}

// goAlarms lets an alarm ring on what goMetrics has put, which is an hour old: only a period as long sees it.
func goAlarms(t *testing.T, metrics *cloudwatch.Client, at time.Time) {
	t.Helper()
	_, err := metrics.PutMetricAlarm(t.Context(), &cloudwatch.PutMetricAlarmInput{
		AlarmName: aws.String("from-go"), Namespace: aws.String("go"), MetricName: aws.String("loss"), Statistic: cwtypes.StatisticMaximum,
		Dimensions: []cwtypes.Dimension{{Name: aws.String("Who"), Value: aws.String("gö")}}, Period: aws.Int32(7200), EvaluationPeriods: aws.Int32(1),
		Threshold: aws.Float64(100), ComparisonOperator: cwtypes.ComparisonOperatorGreaterThanThreshold,
	})
	if err != nil {
		t.Fatal(err)
	}
	var a cwtypes.MetricAlarm
	eventually(t, 20*time.Second, "the alarm to ring", func() bool {
		found, err := metrics.DescribeAlarms(t.Context(), &cloudwatch.DescribeAlarmsInput{AlarmNamePrefix: aws.String("from-")})
		if err != nil || len(found.MetricAlarms) != 1 {
			t.Fatalf("%+v: %v", found, err)
		}
		a = found.MetricAlarms[0]
		return a.StateValue == cwtypes.StateValueAlarm
	})
	if !strings.Contains(*a.StateReason, "[124.75 (") || a.StateTransitionedTimestamp.Before(at) {
		t.Errorf("%s at %v", *a.StateReason, a.StateTransitionedTimestamp)
	}
	if _, err := metrics.DeleteAlarms(t.Context(), &cloudwatch.DeleteAlarmsInput{AlarmNames: []string{"from-go"}}); err != nil {
		t.Fatal(err)
	}
	_, err = metrics.DeleteAlarms(t.Context(), &cloudwatch.DeleteAlarmsInput{AlarmNames: []string{"from-go"}})
	var typed *cwtypes.ResourceNotFound
	if !errors.As(err, &typed) {
		t.Errorf("an alarm that is gone was deleted: %v", err)
	}
}

// goMetricsRefused sees that the SDK finds the type of an error.
func goMetricsRefused(t *testing.T, metrics *cloudwatch.Client, ask *cloudwatch.GetMetricStatisticsInput, datum cwtypes.MetricDatum) {
	t.Helper()
	ask.StartTime, ask.EndTime = ask.EndTime, ask.StartTime
	_, err := metrics.GetMetricStatistics(t.Context(), ask)
	var typed *cwtypes.InvalidParameterValueException
	if wantCode(t, err, "InvalidParameterValue"); !errors.As(err, &typed) || !strings.Contains(typed.ErrorMessage(), "StartTime") {
		t.Errorf("%v is not of its type", err)
	}
	datum.StatisticValues = &cwtypes.StatisticSet{SampleCount: aws.Float64(1), Sum: aws.Float64(1), Minimum: aws.Float64(1), Maximum: aws.Float64(1)}
	_, err = metrics.PutMetricData(t.Context(), &cloudwatch.PutMetricDataInput{Namespace: aws.String("go"), MetricData: []cwtypes.MetricDatum{datum}})
	wantCode(t, err, "InvalidParameterCombination")
}

func goIdentities(t *testing.T, cfg aws.Config) {
	who, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil || *who.Account != "000000000000" {
		t.Fatalf("%+v: %v", who, err)
	}
	users := iam.NewFromConfig(cfg)
	if _, err := users.CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String("gopher")}); err != nil {
		t.Fatal(err)
	}
	key, err := users.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: aws.String("gopher")})
	if err != nil {
		t.Fatal(err)
	}
	gopher := cfg.Copy()
	gopher.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: *key.AccessKey.AccessKeyId, SecretAccessKey: *key.AccessKey.SecretAccessKey}, nil
	})
	sm := sagemaker.NewFromConfig(gopher)
	_, err = sm.ListTrainingJobs(t.Context(), &sagemaker.ListTrainingJobsInput{})
	wantCode(t, err, "AccessDeniedException")
	_, err = users.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{
		UserName: aws.String("gopher"), PolicyName: aws.String("list"),
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sagemaker:ListTrainingJobs","Resource":"*"}}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = sm.ListTrainingJobs(t.Context(), &sagemaker.ListTrainingJobsInput{}); err != nil {
		t.Fatal(err)
	}
	_, err = users.GetUser(t.Context(), &iam.GetUserInput{UserName: aws.String("nobody")})
	wantCode(t, err, "NoSuchEntity")
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var refused smithy.APIError
	if !errors.As(err, &refused) || refused.ErrorCode() != code {
		t.Errorf("got %v, want %s", err, code)
	}
}
