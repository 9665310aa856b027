package authorize_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stint-ml/stint/decide/authorize"
	"github.com/stint-ml/stint/platform"
)

const (
	account = "123456789012"
	alice   = platform.ARN("arn:aws:iam::123456789012:user/alice")
	session = platform.ARN("arn:aws:sts::123456789012:assumed-role/Trainer/run-1")
	trainer = platform.ARN("arn:aws:iam::123456789012:role/service-role/Trainer")
)

func parse(t testing.TB, document string, use authorize.Use) *authorize.Policy {
	t.Helper()
	p, err := authorize.Parse("p", document, use)
	if err != nil {
		t.Fatalf("Parse(%s): %v", document, err)
	}
	return p
}

// identity wraps statements, written as JSON without the outer brackets, into a policy.
func identity(t testing.TB, statements string) *authorize.Policy {
	t.Helper()
	return parse(t, `{"Version":"2012-10-17","Statement":[`+statements+`]}`, authorize.ForIdentity)
}

func TestIdentityPolicies(t *testing.T) {
	t.Parallel()
	const train = "sagemaker:CreateTrainingJob"
	const job = platform.ARN("arn:aws:sagemaker:eu-west-1:123456789012:training-job/j")
	tests := []struct {
		name       string
		statements string
		action     string
		resource   platform.ARN
		want       authorize.Outcome
	}{
		{"star", `{"Effect":"Allow","Action":"*","Resource":"*"}`, train, job, authorize.Allowed},
		{"exact", `{"Effect":"Allow","Action":"sagemaker:CreateTrainingJob","Resource":"*"}`, train, job, authorize.Allowed},
		{"action ignores case", `{"Effect":"Allow","Action":"SageMaker:createTRAININGjob","Resource":"*"}`, train, job, authorize.Allowed},
		{"action prefix ignores case", `{"Effect":"Allow","Action":"SAGEMAKER:Create*","Resource":"*"}`, train, job, authorize.Allowed},
		{"resource keeps case", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:sagemaker:*:*:training-job/J"}`, train, job, authorize.ImplicitDeny},
		{"other action", `{"Effect":"Allow","Action":"sagemaker:Describe*","Resource":"*"}`, train, job, authorize.ImplicitDeny},
		{"question mark is one character", `{"Effect":"Allow","Action":"sagemaker:CreateTrainingJo?","Resource":"*"}`, train, job, authorize.Allowed},
		{"question mark is not none", `{"Effect":"Allow","Action":"sagemaker:CreateTrainingJob?","Resource":"*"}`, train, job, authorize.ImplicitDeny},
		{"question mark is a character, not a byte", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b/?"}`, "s3:GetObject", "arn:aws:s3:::b/é", authorize.Allowed},
		{"a run never ends within a character", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b/*??b*"}`, "s3:GetObject", "arn:aws:s3:::b/€bc", authorize.ImplicitDeny},
		{"list of actions", `{"Effect":"Allow","Action":["s3:*","sagemaker:*"],"Resource":"*"}`, train, job, authorize.Allowed},
		{"deny beats allow", `{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"sagemaker:*","Resource":"*"}`, train, job, authorize.ExplicitDeny},
		{"deny elsewhere", `{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"s3:*","Resource":"*"}`, train, job, authorize.Allowed},
		{"not action", `{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}`, train, job, authorize.Allowed},
		{"not action excepted", `{"Effect":"Allow","NotAction":["iam:*","sagemaker:*"],"Resource":"*"}`, train, job, authorize.ImplicitDeny},
		{"not resource", `{"Effect":"Allow","Action":"*","NotResource":"arn:aws:s3:::secret/*"}`, "s3:GetObject", "arn:aws:s3:::open/k", authorize.Allowed},
		{"not resource excepted", `{"Effect":"Allow","Action":"*","NotResource":"arn:aws:s3:::secret/*"}`, "s3:GetObject", "arn:aws:s3:::secret/k", authorize.ImplicitDeny},
		{"short ARN is completed", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3"}`, "s3:GetObject", "arn:aws:s3:::b/k", authorize.Allowed},
		{"a bucket is not its objects", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b"}`, "s3:GetObject", "arn:aws:s3:::b/k", authorize.ImplicitDeny},
		{"variable", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::home/${aws:username}/*"}`, "s3:GetObject", "arn:aws:s3:::home/alice/k", authorize.Allowed},
		{"variable of another", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::home/${aws:username}/*"}`, "s3:GetObject", "arn:aws:s3:::home/bob/k", authorize.ImplicitDeny},
		{"variable's key ignores case", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::home/${AWS:UserName}/*"}`, "s3:GetObject", "arn:aws:s3:::home/alice/k", authorize.Allowed},
		{"variable's value is literal", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::home/${stint:wild}"}`, "s3:GetObject", "arn:aws:s3:::home/x", authorize.ImplicitDeny},
		{"variable with two values", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::home/${stint:two}"}`, "s3:GetObject", "arn:aws:s3:::home/a", authorize.ImplicitDeny},
		{"variable with two values and a default", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::home/${stint:two, 'a'}"}`, "s3:GetObject", "arn:aws:s3:::home/a", authorize.ImplicitDeny},
		{"variable without value", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::home/${aws:nothing}*"}`, "s3:GetObject", "arn:aws:s3:::home/", authorize.ImplicitDeny},
		{"variable without value in an excepting allow", `{"Effect":"Allow","Action":"*","NotResource":"arn:aws:s3:::home/${aws:nothing}"}`, "s3:GetObject", "arn:aws:s3:::home/x", authorize.ImplicitDeny},
		{"variable without value in an excepting deny", `{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"*","NotResource":"arn:aws:s3:::home/${aws:nothing}"}`, "s3:GetObject", "arn:aws:s3:::home/x", authorize.ExplicitDeny},
		{"variable's default", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::home/${aws:nothing, 'any'}"}`, "s3:GetObject", "arn:aws:s3:::home/any", authorize.Allowed},
		{"escaped star", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b/${*}"}`, "s3:GetObject", "arn:aws:s3:::b/k", authorize.ImplicitDeny},
		{"escaped star itself", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b/${*}"}`, "s3:GetObject", "arn:aws:s3:::b/*", authorize.Allowed},
	}
	context := map[string][]string{"aws:username": {"alice"}, "stint:wild": {"*"}, "stint:two": {"a", "b"}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := &authorize.Request{Principal: alice, Action: test.action, Resource: test.resource, Context: context}
			got := authorize.Evaluate(r, []*authorize.Policy{identity(t, test.statements)}, nil, nil)
			if got.Outcome != test.want {
				t.Errorf("outcome %v, want %v", got.Outcome, test.want)
			}
		})
	}
}

func TestVariablesNeedTheNewerVersion(t *testing.T) {
	t.Parallel()
	for _, version := range []string{``, `"Version":"2008-10-17",`} {
		p := parse(t, `{`+version+`"Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::home/${aws:username}"}}`, authorize.ForIdentity)
		r := &authorize.Request{Action: "s3:GetObject", Resource: "arn:aws:s3:::home/alice", Context: map[string][]string{"aws:username": {"alice"}}}
		if d := authorize.Evaluate(r, []*authorize.Policy{p}, nil, nil); d.Outcome != authorize.ImplicitDeny {
			t.Errorf("%s: the variable was expanded: %v", version, d)
		}
		r.Resource = "arn:aws:s3:::home/${aws:username}"
		if d := authorize.Evaluate(r, []*authorize.Policy{p}, nil, nil); d.Outcome != authorize.Allowed {
			t.Errorf("%s: ${ was not taken literally: %v", version, d)
		}
	}
}

var conditionTests = []struct {
	condition string
	want      bool
}{
	{`"StringEquals":{"aws:username":"alice"}`, true},
	{`"StringEquals":{"AWS:UserName":"alice"}`, true},
	{`"StringEquals":{"aws:username":"Alice"}`, false},
	{`"StringEquals":{"aws:username":["bob","alice"]}`, true},
	{`"StringEquals":{"aws:username":"a*"}`, false},
	{`"StringEquals":{"stint:star":"*"}`, true},
	{`"StringEquals":{"aws:username":"${aws:username}"}`, true},
	{`"StringEquals":{"aws:username":"${aws:nothing}"}`, false},
	{`"StringEquals":{"aws:nothing":"x"}`, false},
	{`"StringEqualsIfExists":{"aws:nothing":"x"}`, true},
	{`"StringEqualsIfExists":{"aws:username":"x"}`, false},
	{`"StringNotEquals":{"aws:username":"bob"}`, true},
	{`"StringNotEquals":{"aws:username":["bob","alice"]}`, false},
	{`"StringNotEquals":{"aws:nothing":"x"}`, true},
	{`"StringNotEquals":{"aws:username":"${aws:nothing}"}`, false}, // undecided: an Allow does not apply
	{`"StringEqualsIgnoreCase":{"aws:username":"ALICE"}`, true},
	{`"StringEqualsIgnoreCase":{"aws:username":"${aws:username}"}`, true},
	{`"StringEqualsIgnoreCase":{"stint:star":"ALICE"}`, false},
	{`"StringNotEqualsIgnoreCase":{"aws:username":"ALICE"}`, false},
	{`"StringLike":{"aws:username":"a*e"}`, true},
	{`"StringLike":{"aws:username":"a?ice"}`, true},
	{`"StringLike":{"aws:username":"*${*}"}`, false},
	{`"StringLike":{"aws:username":"${aws:username}*"}`, true},
	{`"StringNotLike":{"aws:username":"a*"}`, false},
	{`"NumericEquals":{"s3:max-keys":10}`, true},
	{`"NumericEquals":{"s3:max-keys":"10.0"}`, true},
	{`"NumericNotEquals":{"s3:max-keys":"10"}`, false},
	{`"NumericLessThan":{"s3:max-keys":"10"}`, false},
	{`"NumericLessThanEquals":{"s3:max-keys":"10"}`, true},
	{`"NumericGreaterThan":{"s3:max-keys":"9.5"}`, true},
	{`"NumericGreaterThanEquals":{"s3:max-keys":"11"}`, false},
	{`"NumericLessThan":{"stint:word":"10"}`, false},
	{`"DateGreaterThan":{"aws:CurrentTime":"2026-01-01T00:00:00Z"}`, true},
	{`"DateLessThan":{"aws:CurrentTime":"2026-03-01T13:00:00+02:00"}`, false},
	{`"DateLessThanEquals":{"aws:CurrentTime":"2026-03-01"}`, false},
	{`"DateEquals":{"aws:EpochTime":"2026-03-01T12:00:00Z"}`, true},
	{`"DateEquals":{"aws:CurrentTime":1772366400}`, true},
	{`"DateNotEquals":{"aws:CurrentTime":"2026-03-01T12:00:00Z"}`, false},
	{`"DateGreaterThanEquals":{"stint:word":"2026-03-01T12:00:00Z"}`, false},
	{`"Bool":{"aws:SecureConnect":"false"}`, true},
	{`"Bool":{"aws:SecureConnect":true}`, false},
	{`"BoolIfExists":{"aws:nothing":true}`, true},
	{`"BinaryEquals":{"stint:word":"many"}`, true},
	{`"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}`, true},
	{`"IpAddress":{"aws:SourceIp":["192.168.0.0/16","10.1.2.3"]}`, true},
	{`"IpAddress":{"stint:mapped":"10.0.0.0/8"}`, true},
	{`"IpAddress":{"stint:v6":"2001:db8::/32"}`, true},
	{`"IpAddress":{"stint:v6":"0.0.0.0/0"}`, false},
	{`"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}`, false},
	{`"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::123456789012:role/service-role/Trainer"}`, true},
	{`"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/*"}`, true},
	{`"ArnLike":{"aws:PrincipalArn":"arn:*:role/*"}`, false}, // refused at parsing, see below
	{`"ArnLike":{"aws:PrincipalArn":"arn:aws:*::*:user/*"}`, false},
	{`"ArnNotLike":{"aws:PrincipalArn":"arn:aws:iam::*:user/*"}`, true},
	{`"ArnLike":{"aws:username":"arn:aws:iam::*:role/*"}`, false},
	{`"Null":{"aws:nothing":"true"}`, true},
	{`"Null":{"aws:username":"true"}`, false},
	{`"Null":{"aws:username":false}`, true},
	{`"ForAllValues:StringEquals":{"aws:TagKeys":["team","cost","x"]}`, true},
	{`"ForAllValues:StringEquals":{"aws:TagKeys":["team"]}`, false},
	{`"ForAllValues:StringEquals":{"aws:nothing":["team"]}`, true},
	{`"ForAnyValue:StringEquals":{"aws:TagKeys":["team"]}`, true},
	{`"ForAnyValue:StringEquals":{"aws:TagKeys":["x"]}`, false},
	{`"ForAnyValue:StringEquals":{"aws:nothing":["team"]}`, false},
	{`"ForAnyValue:StringEqualsIfExists":{"aws:nothing":["team"]}`, true},
	{`"ForAllValues:StringNotEquals":{"aws:TagKeys":["x"]}`, true},
	{`"ForAllValues:StringNotEquals":{"aws:TagKeys":["cost"]}`, false},
	{`"ForAnyValue:StringNotEquals":{"aws:TagKeys":["cost"]}`, true},
	{`"ForAnyValue:StringNotEquals":{"aws:TagKeys":["cost","team"]}`, false},
	{`"ForAnyValue:StringLike":{"aws:TagKeys":["t*"]}`, true},
	{`"StringEquals":{"aws:username":"alice"},"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}`, true},
	{`"StringEquals":{"aws:username":"alice"},"IpAddress":{"aws:SourceIp":"11.0.0.0/8"}`, false},
	{`"StringEquals":{"aws:username":"alice","stint:word":"few"}`, false},
}

func TestConditions(t *testing.T) {
	t.Parallel()
	context := map[string][]string{
		"aws:username":      {"alice"},
		"aws:sourceip":      {"10.1.2.3"},
		"aws:principalarn":  {string(trainer)},
		"aws:currenttime":   {"2026-03-01T12:00:00Z"},
		"aws:epochtime":     {"1772366400"},
		"aws:tagkeys":       {"team", "cost"},
		"s3:max-keys":       {"10"},
		"aws:secureconnect": {"false"},
		"stint:v6":          {"2001:db8::1"},
		"stint:mapped":      {"::ffff:10.1.2.3"},
		"stint:star":        {"*"},
		"stint:word":        {"many"},
	}
	for _, test := range conditionTests {
		t.Run(test.condition, func(t *testing.T) {
			t.Parallel()
			document := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{` + test.condition + `}}}`
			p, err := authorize.Parse("p", document, authorize.ForIdentity)
			if strings.Contains(test.condition, `"arn:*:role/*"`) {
				if err == nil {
					t.Error("an ARN pattern of three parts was taken")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(p.ContextKeys()) == 0 {
				t.Error("a policy with a condition says that it reads no context")
			}
			d := authorize.Evaluate(&authorize.Request{Action: "s3:ListBucket", Resource: "*", Context: context}, []*authorize.Policy{p}, nil, nil)
			if got := d.Outcome == authorize.Allowed; got != test.want {
				t.Errorf("holds %v, want %v", got, test.want)
			}
		})
	}
}

func TestUndecidedDenyApplies(t *testing.T) {
	t.Parallel()
	p := identity(t, `{"Effect":"Allow","Action":"*","Resource":"*"},
		{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringNotEquals":{"aws:username":"${aws:nothing}"}}}`)
	r := &authorize.Request{Action: "s3:GetObject", Resource: "*", Context: map[string][]string{"aws:username": {"alice"}}}
	if d := authorize.Evaluate(r, []*authorize.Policy{p}, nil, nil); d.Outcome != authorize.ExplicitDeny {
		t.Errorf("outcome %v, want an explicit deny", d.Outcome)
	}
}

func TestSessionPolicyNarrows(t *testing.T) {
	t.Parallel()
	all := identity(t, `{"Effect":"Allow","Action":"*","Resource":"*"}`)
	read := identity(t, `{"Sid":"Read","Effect":"Allow","Action":"s3:Get*","Resource":"*"}`)
	none := identity(t, `{"Sid":"No","Effect":"Deny","Action":"s3:GetObject","Resource":"*"},{"Effect":"Allow","Action":"*","Resource":"*"}`)
	get := &authorize.Request{Action: "s3:GetObject", Resource: "*"}
	put := &authorize.Request{Action: "s3:PutObject", Resource: "*"}
	tests := []struct {
		name     string
		r        *authorize.Request
		identity *authorize.Policy
		session  *authorize.Policy
		want     authorize.Decision
	}{
		{"both allow", get, all, read, authorize.Decision{Outcome: authorize.Allowed, Source: authorize.IdentityPolicy, Policy: "p", Statement: "Statement[0]"}},
		{"session does not", put, all, read, authorize.Decision{Outcome: authorize.ImplicitDeny, Source: authorize.SessionPolicy}},
		{"identity does not", put, read, all, authorize.Decision{Outcome: authorize.ImplicitDeny, Source: authorize.IdentityPolicy}},
		{"neither", put, read, read, authorize.Decision{Outcome: authorize.ImplicitDeny, Source: authorize.IdentityPolicy}},
		{"session denies", get, all, none, authorize.Decision{Outcome: authorize.ExplicitDeny, Source: authorize.SessionPolicy, Policy: "p", Statement: "No"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := authorize.Evaluate(test.r, []*authorize.Policy{test.identity}, nil, test.session); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestTrust(t *testing.T) {
	t.Parallel()
	user := &authorize.Request{Principal: alice}
	assumed := &authorize.Request{Principal: session, Role: trainer}
	service := &authorize.Request{Service: "sagemaker.amazonaws.com"}
	may := `{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}`
	mayNot := `{"Effect":"Deny","Action":"sts:AssumeRole","Resource":"*"}`
	tests := []struct {
		name      string
		r         *authorize.Request
		principal string // the trust policy's Principal or NotPrincipal member
		identity  string
		want      authorize.Outcome
	}{
		{"service", service, `"Principal":{"Service":"sagemaker.amazonaws.com"}`, "", authorize.Allowed},
		{"other service", service, `"Principal":{"Service":["lambda.amazonaws.com"]}`, "", authorize.ImplicitDeny},
		{"service where a user is named", service, `"Principal":{"AWS":"123456789012"}`, "", authorize.ImplicitDeny},
		{"named user", user, `"Principal":{"AWS":"arn:aws:iam::123456789012:user/alice"}`, "", authorize.Allowed},
		{"other user", user, `"Principal":{"AWS":"arn:aws:iam::123456789012:user/bob"}`, may, authorize.ImplicitDeny},
		{"account delegates to identity", user, `"Principal":{"AWS":"123456789012"}`, may, authorize.Allowed},
		{"account alone", user, `"Principal":{"AWS":"arn:aws:iam::123456789012:root"}`, "", authorize.ImplicitDeny},
		{"other account", user, `"Principal":{"AWS":"210987654321"}`, may, authorize.ImplicitDeny},
		{"identity denies", user, `"Principal":{"AWS":"arn:aws:iam::123456789012:user/alice"}`, mayNot, authorize.ExplicitDeny},
		{"everyone", user, `"Principal":"*"`, "", authorize.Allowed},
		{"everyone in AWS form", user, `"Principal":{"AWS":"*"}`, "", authorize.Allowed},
		{"session by its role", assumed, `"Principal":{"AWS":"arn:aws:iam::123456789012:role/service-role/Trainer"}`, "", authorize.Allowed},
		{"session by itself", assumed, `"Principal":{"AWS":"arn:aws:sts::123456789012:assumed-role/Trainer/run-1"}`, "", authorize.Allowed},
		{"all but", user, `"NotPrincipal":{"AWS":"arn:aws:iam::123456789012:user/alice"}`, may, authorize.ImplicitDeny},
		{"all but another", user, `"NotPrincipal":{"AWS":"arn:aws:iam::123456789012:user/bob"}`, "", authorize.Allowed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			trust := parse(t, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole",`+test.principal+`}}`, authorize.ForTrust)
			var own []*authorize.Policy
			if test.identity != "" {
				own = append(own, identity(t, test.identity))
			}
			r := *test.r
			r.Action, r.Resource = "sts:AssumeRole", trainer
			if got := authorize.EvaluateTrust(&r, trust, own, nil); got.Outcome != test.want {
				t.Errorf("got %+v, want outcome %v", got, test.want)
			}
		})
	}
}

func TestResourcePolicy(t *testing.T) {
	t.Parallel()
	bucket := parse(t, `{"Version":"2012-10-17","Statement":[
		{"Sid":"Alice","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::`+account+`:user/alice"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"},
		{"Sid":"Lock it","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::b/locked/*"}]}`, authorize.ForResource)
	get := func(key string) authorize.Decision {
		r := &authorize.Request{Principal: alice, Action: "s3:GetObject", Resource: platform.ARN("arn:aws:s3:::b/" + key)}
		return authorize.Evaluate(r, nil, []*authorize.Policy{bucket}, nil)
	}
	if got, want := get("open"), (authorize.Decision{Outcome: authorize.Allowed, Source: authorize.ResourcePolicy, Policy: "p", Statement: "Alice"}); got != want {
		t.Errorf("open: got %+v, want %+v", got, want)
	}
	if got, want := get("locked/x"), (authorize.Decision{Outcome: authorize.ExplicitDeny, Source: authorize.ResourcePolicy, Policy: "p", Statement: "Lock it"}); got != want {
		t.Errorf("locked: got %+v, want %+v", got, want)
	}
}

func TestContextKeys(t *testing.T) {
	t.Parallel()
	p := identity(t, `{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::${aws:UserName}/${*}","Condition":{
		"Null":{"AWS:SourceIp":"true"},"StringLike":{"s3:prefix":"${aws:username}/${stint:x, 'y'}"},"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::${aws:PrincipalAccount}:*"}}}`)
	want := []string{"aws:principalaccount", "aws:principalarn", "aws:sourceip", "aws:username", "s3:prefix", "stint:x"}
	if got := p.ContextKeys(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := identity(t, `{"Effect":"Allow","Action":"*","Resource":"*"}`).ContextKeys(); len(got) != 0 {
		t.Errorf("got %q of a policy that reads none", got)
	}
}
