package api_test

import (
	"context"
	"testing"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/drivers/store/memory"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

func TestPassRole(t *testing.T) {
	t.Parallel()
	d := apitest.Open(t, memory.New(), func(*apitest.Door) []*api.Service {
		return []*api.Service{{Model: &sagemaker.Service, Operations: map[string]api.Operation{
			// The tag's value is the role to pass: any operation that starts something does as this one.
			"AddTags": {Handle: api.Handle(func(ctx context.Context, call *api.Call, in *sagemaker.AddTagsInput) (*sagemaker.AddTagsOutput, error) {
				return new(sagemaker.AddTagsOutput), call.PassRole(ctx, platform.ARN(*in.Tags[0].Value), "sagemaker.amazonaws.com")
			})},
		}}}
	})
	put(t, d.Store, api.RoleRecord(platform.Role{Name: "Other", Path: "/p/", ID: "AROAOTHER", Created: d.Clock.Now(),
		Trust: `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}}`}))
	_, with := member(t, d, "with", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iam:PassRole","Resource":"*","Condition":{"StringEquals":{"iam:PassedToService":"sagemaker.amazonaws.com"}}}}`)
	_, without := member(t, d, "without", allow("sagemaker:*"))
	_, elsewhere := member(t, d, "elsewhere", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iam:PassRole","Resource":"*","Condition":{"StringEquals":{"iam:PassedToService":"lambda.amazonaws.com"}}}}`)

	const stint = "arn:aws:iam::123456789012:role/StintExecutionRole"
	cannot := func(role string) string {
		return `{"__type":"ValidationException","message":"Could not assume role ` + role + `. Please ensure that the role exists and allows principal 'sagemaker.amazonaws.com' to assume the role."}`
	}
	mayNot := func(user string) string {
		return `{"__type":"AccessDeniedException","message":"User: arn:aws:iam::123456789012:user/` + user + ` is not authorized to perform: iam:PassRole on resource: ` + stint + ` because no identity-based policy allows the iam:PassRole action"}`
	}
	tests := []struct {
		name string
		as   platform.AccessKey
		role string
		want string
	}{
		{"root", d.Root, stint, "{}"},
		{"user who may", with, stint, "{}"},
		{"user who may not", without, stint, mayNot("without")},
		{"user who may to another service", elsewhere, stint, mayNot("elsewhere")},
		{"unknown role", d.Root, "arn:aws:iam::123456789012:role/Missing", cannot("arn:aws:iam::123456789012:role/Missing")},
		{"role under another path", d.Root, "arn:aws:iam::123456789012:role/p/StintExecutionRole", cannot("arn:aws:iam::123456789012:role/p/StintExecutionRole")},
		{"role that trusts others", d.Root, "arn:aws:iam::123456789012:role/p/Other", cannot("arn:aws:iam::123456789012:role/p/Other")},
		{"another account", d.Root, "arn:aws:iam::210987654321:role/StintExecutionRole", `{"__type":"ValidationException","message":"Cross-account pass role is not allowed."}`},
		{"a user", d.Root, "arn:aws:iam::123456789012:user/with", `{"__type":"ValidationException","message":"\"arn:aws:iam::123456789012:user/with\" is not the ARN of a role; it should look like arn:aws:iam::123456789012:role/NAME"}`},
		{"nothing like it", d.Root, "arn:aws:sagemaker:eu-west-1:123456789012:role/StintExecutionRole", `{"__type":"ValidationException","message":"\"arn:aws:sagemaker:eu-west-1:123456789012:role/StintExecutionRole\" is not the ARN of a role; it should look like arn:aws:iam::123456789012:role/NAME"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, body := d.JSON(t, apitest.Of(test.as), "sagemaker", "SageMaker.AddTags", `{"ResourceArn":"arn:aws:sagemaker:eu-west-1:123456789012:training-job/j","Tags":[{"Key":"role","Value":"`+test.role+`"}]}`)
			if body != test.want {
				t.Errorf("got  %s\nwant %s", body, test.want)
			}
		})
	}
}
