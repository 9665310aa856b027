package iam

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/decide/authorize"
	"github.com/stint-ml/stint/platform"
	model "github.com/stint-ml/stint/shapes/iam"
)

// maxSimulated bounds the evaluations of one request.
const maxSimulated = 10_000

// simulation is what the policies of a request say, ready to be asked.
type simulation struct {
	request  authorize.Request
	sort     model.PolicySourceType // of the principal's own policies
	identity []*authorize.Policy
	resource []*authorize.Policy
	boundary *authorize.Policy
	own      map[string]bool // names of the principal's own policies
}

// simulatePrincipalPolicy evaluates real policies: what it says of an action is what a call would meet.
func (s *service) simulatePrincipalPolicy(ctx context.Context, call *api.Call, in *model.SimulatePrincipalPolicyRequest) (*model.SimulatePolicyResponse, error) {
	key, err := simulated(call, platform.ARN(*in.PolicySourceArn))
	if err != nil {
		return nil, err
	}
	e, err := s.permitted(ctx, call, key)
	if err != nil {
		return nil, err
	}
	if e.arn(call.Site) != platform.ARN(*in.PolicySourceArn) {
		return nil, platform.Errorf(platform.NotFound, *in.PolicySourceArn, "The entity with ARN %s cannot be found.", *in.PolicySourceArn)
	}
	if len(in.PolicyExclusionList) > 0 {
		return nil, unsupported(call, "PolicyExclusionList")
	}
	sim, err := prepare(call, e, in)
	if err != nil {
		return nil, err
	}
	resources := in.ResourceArns
	if len(resources) == 0 {
		resources = []string{"*"}
	}
	if n := len(in.ActionNames) * len(resources); n > maxSimulated {
		return nil, invalidInput("%d actions on %d resources are too many; at most %d combinations can be simulated at once", len(in.ActionNames), len(resources), maxSimulated)
	}
	var results []model.EvaluationResult
	for _, action := range in.ActionNames {
		for _, resource := range resources {
			results = append(results, sim.ask(action, resource))
		}
	}
	page, marker, err := slice(results, in.Marker, in.MaxItems)
	return &model.SimulatePolicyResponse{EvaluationResults: page, Marker: marker, IsTruncated: new(marker != nil)}, err
}

func invalidInput(format string, args ...any) error {
	return api.WithCode("InvalidInput", platform.Errorf(platform.Invalid, "", format, args...))
}

// simulated reads whose policies are meant.
func simulated(call *api.Call, arn platform.ARN) (platform.Key, error) {
	_, service, _, account, resource, ok := arn.Split()
	sort, _, _ := strings.Cut(resource, "/")
	switch {
	case !ok || service != "iam" || arn.ResourceName() == "" || sort != "user" && sort != "role":
		return platform.Key{}, invalidInput("Invalid Entity Arn: %s does not clearly define entity type and name.", arn)
	case account != call.Site.Account:
		return platform.Key{}, platform.Errorf(platform.NotFound, string(arn), "The entity with ARN %s cannot be found.", arn)
	case sort == "user":
		return userKey(arn.ResourceName()), nil
	default:
		return roleKey(arn.ResourceName()), nil
	}
}

func prepare(call *api.Call, e *entity, in *model.SimulatePrincipalPolicyRequest) (*simulation, error) {
	arn := e.arn(call.Site)
	sim := &simulation{request: authorize.Request{Principal: arn, Context: simulatedContext(call, e, in)}, sort: model.PolicySourceTypeUser, own: make(map[string]bool)}
	if e.role != nil {
		sim.sort = model.PolicySourceTypeRole
	}
	for _, name := range slices.Sorted(maps.Keys(e.policies())) {
		p, err := authorize.Parse(name, e.policies()[name], authorize.ForIdentity)
		if err != nil { // it was checked when it was put
			return nil, platform.Errorf(platform.Internal, name, "a stored policy is malformed: %w", err)
		}
		sim.identity, sim.own[name] = append(sim.identity, p), true
	}
	for i, document := range in.PolicyInputList {
		p, err := authorize.Parse("PolicyInputList."+strconv.Itoa(i+1), document, authorize.ForIdentity)
		if err != nil {
			return nil, api.WithCode("InvalidInput", err)
		}
		sim.identity = append(sim.identity, p)
	}
	if in.ResourcePolicy != nil {
		p, err := authorize.Parse("ResourcePolicy", *in.ResourcePolicy, authorize.ForResource)
		if err != nil {
			return nil, api.WithCode("InvalidInput", err)
		}
		sim.resource = append(sim.resource, p)
	}
	if in.CallerArn != nil {
		sim.request.Principal = platform.ARN(*in.CallerArn)
	}
	switch len(in.PermissionsBoundaryPolicyInputList) {
	case 0:
		return sim, nil
	case 1:
		p, err := authorize.Parse("PermissionsBoundaryPolicyInputList.1", in.PermissionsBoundaryPolicyInputList[0], authorize.ForIdentity)
		sim.boundary = p
		return sim, api.WithCode("InvalidInput", err)
	default:
		return nil, invalidInput("PermissionsBoundaryPolicyInputList takes one policy, got %d.", len(in.PermissionsBoundaryPolicyInputList))
	}
}

// simulatedContext is what the request gives, and what is known of the principal itself.
func simulatedContext(call *api.Call, e *entity, in *model.SimulatePrincipalPolicyRequest) map[string][]string {
	context := map[string][]string{
		"aws:principalarn":     {string(e.arn(call.Site))},
		"aws:principalaccount": {call.Site.Account},
	}
	if e.user != nil {
		context["aws:username"], context["aws:userid"], context["aws:principaltype"] = []string{e.user.Name}, []string{e.user.ID}, []string{"User"}
	} else {
		context["aws:principaltype"] = []string{"AssumedRole"}
	}
	for _, entry := range in.ContextEntries {
		if entry.ContextKeyName != nil {
			context[strings.ToLower(*entry.ContextKeyName)] = entry.ContextKeyValues
		}
	}
	return context
}

func (sim *simulation) ask(action, resource string) model.EvaluationResult {
	r := sim.request
	r.Action, r.Resource = action, platform.ARN(resource)
	d := authorize.Evaluate(&r, sim.identity, sim.resource, sim.boundary)
	result := model.EvaluationResult{
		EvalActionName: &action, EvalResourceName: &resource, EvalDecision: new(decisionNames[d.Outcome]),
		MatchedStatements: []model.Statement{}, MissingContextValues: sim.missing(),
	}
	if d.Policy != "" {
		sort := model.PolicySourceTypeNone
		if d.Source == authorize.ResourcePolicy {
			sort = model.PolicySourceTypeResource
		} else if sim.own[d.Policy] {
			sort = sim.sort
		}
		result.MatchedStatements = append(result.MatchedStatements, model.Statement{SourcePolicyId: &d.Policy, SourcePolicyType: &sort})
	}
	if sim.boundary != nil {
		allowed := authorize.Evaluate(&r, []*authorize.Policy{sim.boundary}, nil, nil).Outcome == authorize.Allowed
		result.PermissionsBoundaryDecisionDetail = &model.PermissionsBoundaryDecisionDetail{AllowedByPermissionsBoundary: &allowed}
	}
	return result
}

var decisionNames = map[authorize.Outcome]model.PolicyEvaluationDecisionType{
	authorize.Allowed:      model.PolicyEvaluationDecisionTypeAllowed,
	authorize.ExplicitDeny: model.PolicyEvaluationDecisionTypeExplicitDeny,
	authorize.ImplicitDeny: model.PolicyEvaluationDecisionTypeImplicitDeny,
}

// missing gives the context keys that the policies read and nobody gave.
func (sim *simulation) missing() []string {
	missing := []string{}
	for _, policies := range [][]*authorize.Policy{sim.identity, sim.resource} {
		for _, p := range policies {
			for _, key := range p.ContextKeys() {
				if _, given := sim.request.Context[key]; !given {
					missing = append(missing, key)
				}
			}
		}
	}
	slices.Sort(missing)
	return slices.Compact(missing)
}
