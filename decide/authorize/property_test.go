package authorize_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/stint-ml/stint/decide/authorize"
	"github.com/stint-ml/stint/platform"
)

// drawStatement makes a legal identity statement over a small world, so that statements often meet requests.
func drawStatement(t *rapid.T, effect string) string {
	statement := map[string]any{"Effect": effect}
	action := rapid.SampledFrom([]string{"Action", "NotAction"}).Draw(t, "action element")
	statement[action] = rapid.SliceOfN(rapid.SampledFrom([]string{"*", "s3:*", "s3:Get*", "s3:GetObject", "S3:getobject", "iam:*", "s3:?etObject"}), 1, 3).Draw(t, "actions")
	resource := rapid.SampledFrom([]string{"Resource", "NotResource"}).Draw(t, "resource element")
	statement[resource] = rapid.SliceOfN(rapid.SampledFrom([]string{"*", "arn:aws:s3:::b/*", "arn:aws:s3:::${aws:username}/*", "arn:aws:s3:::b/k", "arn:aws:s3", "arn:aws:s3:::${aws:none}"}), 1, 3).Draw(t, "resources")
	if rapid.Bool().Draw(t, "with condition") {
		operator := rapid.SampledFrom([]string{"StringEquals", "StringNotEquals", "StringLike", "ForAllValues:StringLike", "ForAnyValue:StringNotEquals", "StringEqualsIfExists"}).Draw(t, "operator")
		key := rapid.SampledFrom([]string{"aws:username", "aws:none", "aws:TagKeys"}).Draw(t, "key")
		values := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "*", "${aws:username}", "${aws:none}"}), 1, 2).Draw(t, "values")
		statement["Condition"] = map[string]any{operator: map[string]any{key: values}}
	}
	text, err := json.Marshal(statement)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func drawPolicy(t *rapid.T, effects ...string) *authorize.Policy {
	n := rapid.IntRange(1, 3).Draw(t, "statements")
	statements := make([]string, n)
	for i := range statements {
		statements[i] = drawStatement(t, rapid.SampledFrom(effects).Draw(t, "effect"))
	}
	p, err := authorize.Parse("p", `{"Version":"2012-10-17","Statement":[`+strings.Join(statements, ",")+`]}`, authorize.ForIdentity)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func drawRequest(t *rapid.T) *authorize.Request {
	context := map[string][]string{}
	if rapid.Bool().Draw(t, "has username") {
		context["aws:username"] = []string{rapid.SampledFrom([]string{"a", "b", "*"}).Draw(t, "username")}
	}
	if rapid.Bool().Draw(t, "has tags") {
		context["aws:tagkeys"] = rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 1, 3).Draw(t, "tag keys")
	}
	return &authorize.Request{
		Principal: alice,
		Action:    rapid.SampledFrom([]string{"s3:GetObject", "s3:PutObject", "iam:GetRole"}).Draw(t, "action"),
		Resource:  platform.ARN(rapid.SampledFrom([]string{"arn:aws:s3:::b/k", "arn:aws:s3:::a/k", "arn:aws:s3:::${aws:none}", "*"}).Draw(t, "resource")),
		Context:   context,
	}
}

func drawPolicies(t *rapid.T) []*authorize.Policy {
	policies := make([]*authorize.Policy, rapid.IntRange(0, 4).Draw(t, "policies"))
	for i := range policies {
		policies[i] = drawPolicy(t, "Allow", "Deny")
	}
	return policies
}

// insert puts p at any place, since order must not matter.
func insert(t *rapid.T, policies []*authorize.Policy, p *authorize.Policy) []*authorize.Policy {
	at := rapid.IntRange(0, len(policies)).Draw(t, "place")
	out := append([]*authorize.Policy{}, policies[:at]...)
	return append(append(out, p), policies[at:]...)
}

func TestDenyAlwaysWins(t *testing.T) {
	t.Parallel()
	deny, err := authorize.Parse("deny", `{"Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}`, authorize.ForIdentity)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		r, policies := drawRequest(t), drawPolicies(t)
		if d := authorize.Evaluate(r, insert(t, policies, deny), nil, nil); d.Outcome != authorize.ExplicitDeny {
			t.Errorf("identity: %+v", d)
		}
		if d := authorize.Evaluate(r, policies, nil, deny); d.Outcome != authorize.ExplicitDeny {
			t.Errorf("session: %+v", d)
		}
	})
}

func TestAnotherPolicyOnlyMovesOneWay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r, policies := drawRequest(t), drawPolicies(t)
		before := authorize.Evaluate(r, policies, nil, nil)
		withAllow := authorize.Evaluate(r, insert(t, policies, drawPolicy(t, "Allow")), nil, nil)
		if before.Outcome == authorize.Allowed && withAllow.Outcome != authorize.Allowed {
			t.Errorf("more allows took access away: %+v, then %+v", before, withAllow)
		}
		if before.Outcome == authorize.ExplicitDeny && withAllow.Outcome != authorize.ExplicitDeny {
			t.Errorf("an allow overruled a deny: %+v, then %+v", before, withAllow)
		}
		withDeny := authorize.Evaluate(r, insert(t, policies, drawPolicy(t, "Deny")), nil, nil)
		if before.Outcome != authorize.Allowed && withDeny.Outcome == authorize.Allowed {
			t.Errorf("more denies gave access: %+v, then %+v", before, withDeny)
		}
		withSession := authorize.Evaluate(r, policies, nil, drawPolicy(t, "Allow", "Deny"))
		if before.Outcome != authorize.Allowed && withSession.Outcome == authorize.Allowed {
			t.Errorf("a session policy gave access: %+v, then %+v", before, withSession)
		}
	})
}

func TestOrderDoesNotMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r, policies := drawRequest(t), drawPolicies(t)
		shuffled := rapid.Permutation(policies).Draw(t, "order")
		a, b := authorize.Evaluate(r, policies, nil, nil), authorize.Evaluate(r, shuffled, nil, nil)
		if a.Outcome != b.Outcome {
			t.Errorf("%+v, shuffled %+v", a, b)
		}
	})
}

// TestWildcardsMatchLikeRegularExpressions compares the matcher, through a policy, with the standard library's.
func TestWildcardsMatchLikeRegularExpressions(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		wild := rapid.StringOfN(rapid.RuneFrom([]rune("ab/é€*?")), 0, 12, -1).Draw(t, "pattern")
		text := rapid.StringOfN(rapid.RuneFrom([]rune("ab/é€")), 0, 12, -1).Draw(t, "text")
		var expression strings.Builder
		for _, c := range wild {
			switch c {
			case '*':
				expression.WriteString("(?s:.*)")
			case '?':
				expression.WriteString("(?s:.)")
			default:
				expression.WriteString(regexp.QuoteMeta(string(c)))
			}
		}
		want := regexp.MustCompile(`\A` + expression.String() + `\z`).MatchString(text)
		p, err := authorize.Parse("p", `{"Version":"2012-10-17","Statement":[`+`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::`+wild+`"}`+`]}`, authorize.ForIdentity)
		if err != nil {
			t.Fatal(err)
		}
		r := &authorize.Request{Action: "s3:GetObject", Resource: platform.ARN("arn:aws:s3:::" + text)}
		if got := authorize.Evaluate(r, []*authorize.Policy{p}, nil, nil).Outcome == authorize.Allowed; got != want {
			t.Errorf("%q matches %q: %v, want %v", wild, text, got, want)
		}
	})
}
