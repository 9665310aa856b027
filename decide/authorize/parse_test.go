package authorize_test

import (
	"strings"
	"testing"

	"github.com/stint-ml/stint/decide/authorize"
	"github.com/stint-ml/stint/platform"
)

func TestMalformedDocuments(t *testing.T) {
	t.Parallel()
	id, trust, resource := authorize.ForIdentity, authorize.ForTrust, authorize.ForResource
	tests := []struct {
		name     string
		use      authorize.Use
		document string
		want     string
	}{
		{"empty", id, ``, "Syntax errors in policy. The document is not valid JSON: unexpected end of JSON input. (line 1, column 0)"},
		{"not JSON", id, "{\n  \"Version\": 2012-10-17\n}", "Syntax errors in policy. The document is not valid JSON: invalid character '-' after object key:value pair. (line 2, column 18)"},
		{"not an object", id, `[]`, "Syntax errors in policy. The document must be a JSON object."},
		{"null", id, `null`, "Syntax errors in policy. The document must be a JSON object."},
		{"no statement", id, `{"Version":"2012-10-17"}`, "Syntax errors in policy. A policy must contain at least one statement. (Statement)"},
		{"no statements", id, `{"Statement":[]}`, "Syntax errors in policy. A policy must contain at least one statement. (Statement)"},
		{"statement is a word", id, `{"Statement":"Allow"}`, "Syntax errors in policy. (Statement)"},
		{"statement is null", id, `{"Statement":[null]}`, "Syntax errors in policy. (Statement[0])"},
		{"version", id, `{"Version":"2013-10-17","Statement":{}}`, "The policy must contain a valid version string (Version)"},
		{"id", id, `{"Id":7,"Statement":{}}`, "Syntax errors in policy. (Id)"},
		{"unknown top", id, `{"statement":{}}`, "Syntax errors in policy. (statement)"},
		{"unknown member", id, `{"Statement":{"Effect":"Allow","action":"*","Resource":"*"}}`, "Syntax errors in policy. (Statement.action)"},
		{"twice", id, `{"Statement":{"Effect":"Deny","Effect":"Allow","Action":"*","Resource":"*"}}`, `Syntax errors in policy. "Effect" is given twice. (Statement)`},
		{"no effect", id, `{"Statement":{"Action":"*","Resource":"*"}}`, "Missing required field Effect (Statement)"},
		{"effect", id, `{"Statement":{"Effect":"allow","Action":"*","Resource":"*"}}`, "Syntax errors in policy. Effect must be Allow or Deny. (Statement.Effect)"},
		{"no action", id, `{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Allow","Resource":"*"}]}`, "Policy statement must contain actions. (Statement[1])"},
		{"no actions", id, `{"Statement":{"Effect":"Allow","Action":[],"Resource":"*"}}`, "Policy statement must contain actions. (Statement.Action)"},
		{"both actions", id, `{"Statement":{"Effect":"Allow","Action":"*","NotAction":"*","Resource":"*"}}`, "Syntax errors in policy. A statement has either Action or NotAction. (Statement)"},
		{"action type", id, `{"Statement":{"Effect":"Allow","Action":[null],"Resource":"*"}}`, "Syntax errors in policy. (Statement.Action)"},
		{"no vendor", id, `{"Statement":{"Effect":"Allow","Action":"GetObject","Resource":"*"}}`, "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc. (Statement.Action)"},
		{"vendor", id, `{"Statement":{"Effect":"Allow","Action":"s 3:GetObject","Resource":"*"}}`, "Vendor s 3 is not valid (Statement.Action)"},
		{"action without name", id, `{"Statement":{"Effect":"Allow","Action":"s3:","Resource":"*"}}`, `Syntax errors in policy. The action "s3:" has no name. (Statement.Action)`},
		{"no resource", id, `{"Statement":{"Effect":"Allow","Action":"*"}}`, "Policy statement must contain resources. (Statement)"},
		{"no resources", id, `{"Statement":{"Effect":"Allow","Action":"*","Resource":[]}}`, "Policy statement must contain resources. (Statement.Resource)"},
		{"resource", id, `{"Statement":{"Effect":"Allow","Action":"*","Resource":"bucket"}}`, `Resource bucket must be in ARN format or "*". (Statement.Resource)`},
		{"open variable", id, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::${aws:username"}}`, `Syntax errors in policy. In "arn:aws:s3:::${aws:username" a policy variable that begins with ${ must end with }. (Statement.Resource)`},
		{"empty variable", id, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::${}"}}`, `Syntax errors in policy. In "arn:aws:s3:::${}" a policy variable must name a key, as ${aws:username} does. (Statement.Resource)`},
		{"variable's default", id, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::${aws:x, y}"}}`, `Syntax errors in policy. In "arn:aws:s3:::${aws:x, y}" the default of a policy variable must stand in single quotes. (Statement.Resource)`},
		{"principal", id, `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Principal":"*"}}`, "Policy document should not specify a principal. (Statement.Principal)"},
		{"sid", id, `{"Statement":{"Sid":"a b","Effect":"Allow","Action":"*","Resource":"*"}}`, "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]* (Statement.Sid)"},
		{"sid twice", id, `{"Statement":[{"Sid":"a","Effect":"Allow","Action":"*","Resource":"*"},{"Sid":"a","Effect":"Allow","Action":"*","Resource":"*"}]}`, "Statement IDs (SID) in a single policy must be unique. (Statement[1].Sid)"},
		{"operator", id, `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringIs":{"aws:username":"x"}}}}`, "Invalid Condition type : StringIs. (Statement.Condition)"},
		{"null takes no quantifier", id, `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"ForAnyValue:Null":{"aws:username":"true"}}}}`, "Invalid Condition type : ForAnyValue:Null. (Statement.Condition)"},
		{"condition key", id, `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"username":"x"}}}}`, "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc. (Statement.Condition.StringEquals.username)"},
		{"condition without value", id, `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:username":[]}}}}`, "Syntax errors in policy. (Statement.Condition.StringEquals.aws:username)"},
		{"condition of objects", id, `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:username":[{}]}}}}`, "Syntax errors in policy. (Statement.Condition.StringEquals.aws:username)"},
		{"condition is a list", id, `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":[]}}`, "Syntax errors in policy. (Statement.Condition)"},
		{"number", id, `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"NumericEquals":{"aws:x":"ten"}}}}`, `Syntax errors in policy. In the condition, "ten" is not a number. (Statement.Condition.NumericEquals.aws:x)`},
		{"date", id, `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"DateEquals":{"aws:x":"soon"}}}}`, `Syntax errors in policy. In the condition, "soon" is neither an ISO 8601 date nor seconds since 1970. (Statement.Condition.DateEquals.aws:x)`},
		{"bool", id, `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"aws:x":"yes"}}}}`, `Syntax errors in policy. In the condition, "yes" is neither true nor false. (Statement.Condition.Bool.aws:x)`},
		{"address", id, `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:x":"10.0.0"}}}}`, `Syntax errors in policy. In the condition, "10.0.0" is neither an IP address nor a CIDR range. (Statement.Condition.IpAddress.aws:x)`},
		{"trust with resource", trust, `{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":"*","Resource":"*"}}`, "Has prohibited field Resource (Statement.Resource)"},
		{"trust without principal", trust, `{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole"}}`, "Missing required field Principal (Statement)"},
		{"trust of other actions", trust, `{"Statement":{"Effect":"Allow","Action":"s3:*","Principal":"*"}}`, "AssumeRole policy may only specify STS AssumeRole actions. (Statement.Action)"},
		{"trust in a word", trust, `{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":"me"}}`, `Invalid principal in policy: "me" (Statement.Principal)`},
		{"trust in nobody", trust, `{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{}}}`, "Missing required field Principal cannot be empty! (Statement.Principal)"},
		{"trust in an empty list", trust, `{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":[]}}}`, "Syntax errors in policy. (Statement.Principal.AWS)"},
		{"trust in a pattern", trust, `{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"arn:aws:iam::123456789012:user/*"}}}`, `Invalid principal in policy: "AWS":"arn:aws:iam::123456789012:user/*" (Statement.Principal)`},
		{"trust in a bucket", trust, `{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"arn:aws:s3:::b"}}}`, `Invalid principal in policy: "AWS":"arn:aws:s3:::b" (Statement.Principal)`},
		{"trust in a sort", trust, `{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Aws":"*"}}}`, `Invalid principal in policy: "Aws":"*" (Statement.Principal)`},
		{"trust in a service", trust, `{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"sagemaker"}}}`, `Invalid principal in policy: "Service":"sagemaker" (Statement.Principal)`},
		{"resource policy without principal", resource, `{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`, "Missing required field Principal (Statement)"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := authorize.Parse("p", test.document, test.use)
			if err == nil {
				t.Fatal("the document was taken")
			}
			if err.Error() != test.want {
				t.Errorf("got  %s\nwant %s", err, test.want)
			}
			if !platform.Is(err, platform.Invalid) {
				t.Errorf("kind %v, want invalid", platform.KindOf(err))
			}
		})
	}
}

func TestLegalDocuments(t *testing.T) {
	t.Parallel()
	for use, documents := range map[authorize.Use][]string{
		authorize.ForIdentity: {
			" {\n\t\"Version\" : \"2012-10-17\" , \"Id\":\"x\", \"Statement\" : [ { \"Sid\":\"\", \"Effect\":\"Allow\", \"Action\":[ \"*:*\" ], \"Resource\":[ \"arn:aws:s3:::*\" ] } ] }",
			`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"ArnLike":{"aws:PrincipalArn":"*"}}}}`,
			`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::${aws:username}","Condition":{"ArnLike":{"aws:SourceArn":"arn:aws:iam::${aws:PrincipalAccount}:user/*"}}}}`,
		},
		authorize.ForTrust: {
			`{"Statement":{"Effect":"Allow","Action":["sts:AssumeRole","sts:TagSession"],"Principal":{"Service":["sagemaker.amazonaws.com","lambda.amazonaws.com"],"Federated":"cognito-identity.amazonaws.com"}}}`,
		},
	} {
		for _, document := range documents {
			if _, err := authorize.Parse("p", document, use); err != nil {
				t.Errorf("%s: %v", document, err)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{"Version":"2012-10-17","Statement":[{"Sid":"a","Effect":"Allow","Action":["s3:*"],"Resource":"arn:aws:s3:::${aws:username, 'x'}/*?${*}"}]}`, "arn:aws:s3:::b/k", "alice")
	f.Add(`{"Statement":{"Effect":"Deny","NotAction":"iam:*","NotResource":"*","Condition":{"ForAnyValue:StringLikeIfExists":{"aws:TagKeys":["a*",1,true]},"ArnLike":{"aws:x":"arn:aws:*:*:*:${aws:username}"}}}}`, "*", "")
	f.Add(`{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":["123456789012","*"],"Service":"sagemaker.amazonaws.com"}}}`, "*", "a:b")
	f.Fuzz(func(t *testing.T, document, resource, value string) {
		for _, use := range []authorize.Use{authorize.ForIdentity, authorize.ForTrust, authorize.ForResource} {
			p, err := authorize.Parse("p", document, use)
			if err != nil {
				if !platform.Is(err, platform.Invalid) || strings.TrimSpace(err.Error()) == "" {
					t.Errorf("error %q of kind %v", err, platform.KindOf(err))
				}
				continue
			}
			context := map[string][]string{"aws:username": {value}, "aws:tagkeys": {value, resource}, "aws:x": {resource}}
			r := &authorize.Request{Principal: alice, Action: "s3:GetObject", Resource: platform.ARN(resource), Context: context}
			first := authorize.Evaluate(r, []*authorize.Policy{p}, []*authorize.Policy{p}, p)
			if again := authorize.Evaluate(r, []*authorize.Policy{p}, []*authorize.Policy{p}, p); again != first {
				t.Errorf("the same question got %+v and %+v", first, again)
			}
		}
	})
}
