package e2e

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// cli runs the AWS CLI with nothing but what `stint env` exports.
type cli struct {
	aws string
	env []string
	dir string // its folder for files, and its home: no settings of this machine's user
}

func newCLI(t *testing.T, s *server) *cli {
	t.Helper()
	dir := t.TempDir()
	return &cli{aws: filepath.Join(need(t, "STINT_VENV_AWSCLI"), "bin", "aws"), env: append(s.env(t), "HOME="+dir, "AWS_PAGER="), dir: dir}
}

func (c *cli) command(args ...string) *exec.Cmd {
	cmd := exec.Command(c.aws, args...)
	cmd.Env, cmd.Dir = c.env, c.dir
	return cmd
}

// run gives what the command says, which must succeed.
func (c *cli) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := c.command(args...).Output()
	if err != nil {
		t.Fatalf("aws %s: %v", strings.Join(args, " "), stderr(err))
	}
	return string(out)
}

// json decodes what the command says.
func (c *cli) json(t *testing.T, into any, args ...string) {
	t.Helper()
	if out := c.run(t, args...); json.Unmarshal([]byte(out), into) != nil {
		t.Fatalf("aws %s says %s", strings.Join(args, " "), out)
	}
}

// fails gives what a command says that must not succeed.
func (c *cli) fails(t *testing.T, args ...string) string {
	t.Helper()
	out, err := c.command(args...).CombinedOutput()
	if err == nil {
		t.Fatalf("aws %s succeeded: %s", strings.Join(args, " "), out)
	}
	return string(out)
}

// write makes a file in the CLI's folder.
func (c *cli) write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// age makes files a minute old: S3 tells times in whole seconds, and a sync takes a file written in the second of its upload for a newer one.
func (c *cli) age(t *testing.T, names ...string) {
	t.Helper()
	past := time.Now().Add(-time.Minute)
	for _, name := range names {
		if err := os.Chtimes(filepath.Join(c.dir, name), past, past); err != nil {
			t.Fatal(err)
		}
	}
}

// stderr adds what a command complained of to its error.
func stderr(err error) error {
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		return errors.New(err.Error() + ": " + string(ended.Stderr))
	}
	return err
}

// TestAWSCLI is a user who has only a shell.
func TestAWSCLI(t *testing.T) {
	t.Parallel()
	s := start(t, roomy...)
	for name, test := range map[string]func(*testing.T, *cli){
		"objects": cliObjects, "training": cliTraining, "identities": cliIdentities, "scaling": func(t *testing.T, aws *cli) { cliScaling(t, s, aws) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newCLI(t, s))
		})
	}
}

func cliObjects(t *testing.T, aws *cli) {
	aws.run(t, "s3", "mb", "s3://cli-objects")
	aws.write(t, "tree/a.txt", "a")
	aws.write(t, "tree/sub dir/ä.txt", "umlaut")
	big := strings.Repeat("0123456789abcdef", 1<<20) // in parts
	aws.write(t, "tree/big", big)
	aws.age(t, "tree/a.txt", "tree/sub dir/ä.txt", "tree/big")
	aws.run(t, "s3", "sync", "tree", "s3://cli-objects/tree", "--only-show-errors")
	if again := aws.run(t, "s3", "sync", "tree", "s3://cli-objects/tree"); again != "" {
		t.Errorf("a second sync copies again: %s", again)
	}
	aws.run(t, "s3", "cp", "s3://cli-objects/tree", "back", "--recursive", "--only-show-errors")
	for name, want := range map[string]string{"a.txt": "a", "sub dir/ä.txt": "umlaut", "big": big} {
		if got, err := os.ReadFile(filepath.Join(aws.dir, "back", name)); err != nil || string(got) != want {
			t.Errorf("%s came back as %d bytes: %v", name, len(got), err)
		}
	}
	list := aws.run(t, "s3", "ls", "--recursive", "s3://cli-objects/")
	for _, want := range []string{"16777216 tree/big", "1 tree/a.txt", "6 tree/sub dir/ä.txt"} {
		if !strings.Contains(list, want) {
			t.Errorf("%q is not in %s", want, list)
		}
	}
	if err := os.Remove(filepath.Join(aws.dir, "tree", "a.txt")); err != nil {
		t.Fatal(err)
	}
	aws.run(t, "s3", "sync", "tree", "s3://cli-objects/tree", "--delete")
	if out := aws.fails(t, "s3", "cp", "s3://cli-objects/tree/a.txt", "-"); !strings.Contains(out, "404") {
		t.Errorf("a.txt is still there: %s", out)
	}
	cliPresign(t, aws, "s3://cli-objects/tree/sub dir/ä.txt", "umlaut")
	aws.run(t, "s3", "rb", "s3://cli-objects", "--force")
	if out := aws.fails(t, "s3", "ls", "s3://cli-objects"); !strings.Contains(out, "NoSuchBucket") {
		t.Error(out)
	}
}

// cliPresign fetches an object by a URL, without credentials.
func cliPresign(t *testing.T, aws *cli, uri, want string) {
	t.Helper()
	url := strings.TrimSpace(aws.run(t, "s3", "presign", uri, "--expires-in", "60"))
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, err := io.ReadAll(answer.Body); err != nil || string(body) != want {
		t.Errorf("GET %s answers %s %s: %v", url, answer.Status, body, err)
	}
}

func cliTraining(t *testing.T, aws *cli) {
	aws.run(t, "s3", "mb", "s3://cli-training")
	request := func(name, command string) string {
		return aws.write(t, name+".json", `{
			"TrainingJobName": "`+name+`", "RoleArn": "`+role+`",
			"AlgorithmSpecification": {"TrainingImage": "stint/exec:latest", "TrainingInputMode": "File", "ContainerEntrypoint": ["/bin/sh", "-c", "`+command+`"]},
			"OutputDataConfig": {"S3OutputPath": "s3://cli-training/out"},
			"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
			"StoppingCondition": {"MaxRuntimeInSeconds": 60}}`)
	}
	aws.run(t, "sagemaker", "create-training-job", "--cli-input-json", "file://"+request("by-cli", "echo hello cli; echo w > /opt/ml/model/w"))
	aws.run(t, "sagemaker", "create-training-job", "--cli-input-json", "file://"+request("to-stop", "exec sleep 60"), "--tags", "Key=team,Value=cli")
	if out := aws.fails(t, "sagemaker", "create-training-job", "--cli-input-json", "file://"+request("by-cli", "true")); !strings.Contains(out, "ResourceInUse") {
		t.Error(out)
	}
	var job struct{ TrainingJobStatus, TrainingJobArn, SecondaryStatus string }
	eventually(t, 30*time.Second, "the job to complete", func() bool {
		aws.json(t, &job, "sagemaker", "describe-training-job", "--training-job-name", "by-cli")
		return job.TrainingJobStatus == "Completed"
	})
	aws.run(t, "sagemaker", "wait", "training-job-completed-or-stopped", "--training-job-name", "by-cli")
	aws.run(t, "sagemaker", "stop-training-job", "--training-job-name", "to-stop")
	eventually(t, 30*time.Second, "the job to stop", func() bool {
		aws.json(t, &job, "sagemaker", "describe-training-job", "--training-job-name", "to-stop")
		return job.TrainingJobStatus == "Stopped"
	})
	if tags := aws.run(t, "sagemaker", "list-tags", "--resource-arn", job.TrainingJobArn, "--query", "Tags[].[Key,Value]", "--output", "text"); tags != "team\tcli\n" {
		t.Errorf("tags: %q", tags)
	}
	names := aws.run(t, "sagemaker", "list-training-jobs", "--sort-by", "Name", "--page-size", "1", "--query", "TrainingJobSummaries[].[TrainingJobName,TrainingJobStatus]", "--output", "text")
	if names != "by-cli\tCompleted\nto-stop\tStopped\n" {
		t.Errorf("jobs: %q", names)
	}
	if log := aws.run(t, "logs", "filter-log-events", "--log-group-name", jobLogs, "--log-stream-name-prefix", "by-cli/", "--query", "events[].message", "--output", "text"); log != "hello cli\n" {
		t.Errorf("log: %q", log)
	}
	aws.run(t, "s3", "cp", "s3://cli-training/out/by-cli/output/model.tar.gz", "model.tar.gz")
	if out, err := exec.Command("tar", "-xzOf", filepath.Join(aws.dir, "model.tar.gz"), "w").Output(); err != nil || string(out) != "w\n" {
		t.Errorf("the model holds %q: %v", out, stderr(err))
	}
	if out := aws.fails(t, "sagemaker", "list-pipelines"); !strings.Contains(out, "UnsupportedOperation") {
		t.Error(out)
	}
}

func cliIdentities(t *testing.T, aws *cli) {
	if account := aws.run(t, "sts", "get-caller-identity", "--query", "Account", "--output", "text"); account != "000000000000\n" {
		t.Errorf("account %q", account)
	}
	aws.run(t, "iam", "create-user", "--user-name", "cli-user")
	var made struct {
		AccessKey struct{ AccessKeyId, SecretAccessKey string }
	}
	aws.json(t, &made, "iam", "create-access-key", "--user-name", "cli-user")
	user := *aws
	user.env = append(user.env, "AWS_ACCESS_KEY_ID="+made.AccessKey.AccessKeyId, "AWS_SECRET_ACCESS_KEY="+made.AccessKey.SecretAccessKey)
	if arn := user.run(t, "sts", "get-caller-identity", "--query", "Arn", "--output", "text"); !strings.HasSuffix(arn, ":user/cli-user\n") {
		t.Errorf("arn %q", arn)
	}
	if out := user.fails(t, "sagemaker", "list-training-jobs"); !strings.Contains(out, "AccessDeniedException") {
		t.Error(out)
	}
	aws.run(t, "iam", "put-user-policy", "--user-name", "cli-user", "--policy-name", "p", "--policy-document",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sagemaker:List*","Resource":"*"}]}`)
	user.run(t, "sagemaker", "list-training-jobs")
	if out := user.fails(t, "s3", "ls"); !strings.Contains(out, "AccessDenied") {
		t.Error(out)
	}
	aws.run(t, "iam", "delete-user-policy", "--user-name", "cli-user", "--policy-name", "p")
	aws.run(t, "iam", "delete-access-key", "--user-name", "cli-user", "--access-key-id", made.AccessKey.AccessKeyId)
	aws.run(t, "iam", "delete-user", "--user-name", "cli-user")
}
