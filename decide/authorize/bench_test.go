package authorize_test

import (
	"testing"

	"github.com/stint-ml/stint/decide/authorize"
)

// BenchmarkEvaluate asks what the front door asks most: a job's action against a user's few policies.
func BenchmarkEvaluate(b *testing.B) {
	plain := []*authorize.Policy{
		identity(b, `{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject","s3:ListBucket"],"Resource":["arn:aws:s3:::data","arn:aws:s3:::data/*"]}`),
		identity(b, `{"Effect":"Allow","Action":["logs:*","cloudwatch:*","ecr:Get*"],"Resource":"*"},{"Effect":"Deny","Action":"iam:*","Resource":"*"}`),
		identity(b, `{"Effect":"Allow","Action":"sagemaker:*","Resource":"arn:aws:sagemaker:*:123456789012:training-job/*"}`),
	}
	conditional := append([]*authorize.Policy{
		identity(b, `{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"NotIpAddress":{"aws:SourceIp":["10.0.0.0/8","127.0.0.0/8"]},"StringNotLike":{"aws:PrincipalArn":"arn:aws:iam::*:user/a*"}}}`),
		identity(b, `{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::home/${aws:username}/*"}`),
	}, plain...)
	for name, policies := range map[string][]*authorize.Policy{"plain": plain, "conditional": conditional} {
		b.Run(name, func(b *testing.B) {
			r := &authorize.Request{
				Principal: alice,
				Action:    "sagemaker:DescribeTrainingJob",
				Resource:  "arn:aws:sagemaker:eu-west-1:123456789012:training-job/digits-2026-03-01-12-00-00",
				Context:   map[string][]string{"aws:username": {"alice"}, "aws:sourceip": {"127.0.0.1"}, "aws:principalarn": {string(alice)}},
			}
			b.ReportAllocs()
			for b.Loop() {
				if d := authorize.Evaluate(r, policies, nil, nil); d.Outcome != authorize.Allowed {
					b.Fatal(d)
				}
			}
		})
	}
}
