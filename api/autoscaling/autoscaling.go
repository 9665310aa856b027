// Package autoscaling is Application Auto Scaling over the store, for the variants of endpoints: targets with their bounds,
// policies, scheduled actions and what was done. It writes down what is wanted and shows what became of it.
//
// When and how far to scale is decided and done elsewhere.
package autoscaling

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	model "github.com/stint-ml/stint/shapes/applicationautoscaling"
)

// pageLimit is the most that any of the lists gives at once, and what it gives when not asked.
const pageLimit = 50

type service struct {
	store  platform.Store
	random io.Reader
}

// New makes the service. random is a cryptographic source: ARNs have ids in them.
func New(store platform.Store, random io.Reader) *api.Service {
	s := &service{store, random}
	operation := func(name string, handle func(context.Context, *api.Call, any) (any, error)) api.Operation {
		return api.Operation{Action: "application-autoscaling:" + name, Handle: handle, Codes: map[platform.ErrorKind]string{
			platform.NotFound: "ObjectNotFoundException", platform.LimitExceeded: "LimitExceededException", platform.Conflict: "ConcurrentUpdateException",
		}}
	}
	return &api.Service{
		Model: &model.Service,
		Words: api.JSONWords,
		Operations: map[string]api.Operation{
			"RegisterScalableTarget":    operation("RegisterScalableTarget", api.Handle(s.registerTarget)),
			"DeregisterScalableTarget":  operation("DeregisterScalableTarget", api.Handle(s.deregisterTarget)),
			"DescribeScalableTargets":   operation("DescribeScalableTargets", api.Handle(s.describeTargets)),
			"PutScalingPolicy":          operation("PutScalingPolicy", api.Handle(s.putPolicy)),
			"DeleteScalingPolicy":       operation("DeleteScalingPolicy", api.Handle(s.deletePolicy)),
			"DescribeScalingPolicies":   operation("DescribeScalingPolicies", api.Handle(s.describePolicies)),
			"DescribeScalingActivities": operation("DescribeScalingActivities", api.Handle(s.describeActivities)),
			"PutScheduledAction":        operation("PutScheduledAction", api.Handle(s.putAction)),
			"DeleteScheduledAction":     operation("DeleteScheduledAction", api.Handle(s.deleteAction)),
			"DescribeScheduledActions":  operation("DescribeScheduledActions", api.Handle(s.describeActions)),
		},
	}
}

func invalid(format string, args ...any) error {
	return platform.Errorf(platform.Invalid, "", format, args...)
}

func unsupported(what string) error {
	return platform.Errorf(platform.NotSupported, what, "%s is not supported by this server", what)
}

// address is what every request names a target by.
type address struct {
	of        platform.VariantName
	dimension platform.Dimension
}

// addressOf checks that a request is about a variant.
func addressOf(namespace *model.ServiceNamespace, id *string, dimension *model.ScalableDimension) (address, error) {
	if *namespace != model.ServiceNamespaceSagemaker {
		return address{}, unsupported("Scaling in the namespace " + string(*namespace))
	}
	if *dimension == model.ScalableDimensionSagemakerInferenceComponentDesiredCopyCount {
		return address{}, unsupported("Scaling of inference components")
	}
	of, ok := platform.ParseResourceID(*id)
	d := platform.Dimension(*dimension)
	if !ok || d != platform.DesiredInstanceCount && d != platform.DesiredProvisionedConcurrency {
		return address{}, invalid("Unsupported service namespace, resource type or scalable dimension: %s, %s, %s", *namespace, *id, *dimension)
	}
	return address{of, d}, nil
}

func (a address) key() platform.Key {
	return platform.Key{Kind: platform.KindScalableTarget, Name: platform.TargetName(a.of, a.dimension)}
}

// missing is AWS's answer for a target that is not registered.
func (a address) missing() error {
	return platform.Errorf(platform.NotFound, a.of.ResourceID(), "No scalable target registered for service namespace: sagemaker, resource ID: %s, scalable dimension: %s", a.of.ResourceID(), a.dimension)
}

// change lets f alter a target, and add to the transaction that writes it; f is called again when somebody else changed the
// target or what f read in between.
func (s *service) change(ctx context.Context, call *api.Call, a address, f func(*platform.ScalableTarget, *platform.Tx) error) error {
	for {
		rec, err := s.store.Get(ctx, a.key())
		if platform.Is(err, platform.NotFound) {
			return a.missing()
		}
		if err != nil {
			return err
		}
		t, err := platform.ReadScalableTarget(rec)
		if err != nil {
			return err
		}
		var tx platform.Tx
		if err := f(t, &tx); err != nil {
			return err
		}
		if rec, err = t.Record(rec, call.Now); err != nil {
			return err
		}
		tx.Puts = append(tx.Puts, platform.Put{Record: rec})
		if err = s.store.Commit(ctx, tx); !platform.Is(err, platform.Conflict) && !platform.Is(err, platform.AlreadyExists) {
			return err
		}
	}
}

// each calls f for every target that a request selects; a nil field does not filter.
func (s *service) each(ctx context.Context, namespace *model.ServiceNamespace, id *string, dimension *model.ScalableDimension, f func(*platform.ScalableTarget)) error {
	if *namespace != model.ServiceNamespaceSagemaker {
		return nil // nothing else is ever registered
	}
	if dimension != nil && id == nil {
		return invalid("If you specify a scalable dimension, you must also specify a resource ID.")
	}
	q := platform.Query{Kind: platform.KindScalableTarget, Sort: platform.ByName}
	if id != nil {
		q.NamePrefix = *id + ":"
	}
	for {
		page, err := s.store.List(ctx, q)
		if err != nil {
			return err
		}
		for _, r := range page.Records {
			t, err := platform.ReadScalableTarget(r)
			if err != nil {
				return err
			}
			if dimension == nil || string(*dimension) == string(t.Dimension) {
				f(t)
			}
		}
		if q.Token = page.Next; q.Token == "" {
			return nil
		}
	}
}

// pageOf gives a page of a list in the order of its keys, which no two have in common. A page's token is its last key, so what
// comes up meanwhile neither repeats nor hides others.
func pageOf[T any](all []T, key func(*T) string, most *int32, token *string) (page []T, next *string, err error) {
	limit := pageLimit
	if most != nil {
		if limit = int(*most); limit < 1 || limit > pageLimit {
			return nil, nil, invalid("MaxResults must be between 1 and %d; got %d", pageLimit, limit)
		}
	}
	after, err := base64.RawURLEncoding.Strict().DecodeString(shapes.Value(token))
	if err != nil {
		return nil, nil, api.WithCode("InvalidNextTokenException", invalid("The next token supplied was invalid"))
	}
	slices.SortFunc(all, func(a, b T) int { return cmp.Compare(key(&a), key(&b)) })
	page = []T{}
	for i := range all {
		if token != nil && strings.Compare(key(&all[i]), string(after)) <= 0 {
			continue
		}
		if len(page) == limit {
			return page, new(base64.RawURLEncoding.EncodeToString([]byte(key(&page[limit-1])))), nil
		}
		page = append(page, all[i])
	}
	return page, nil, nil
}

// id makes a random id in the form of a UUID, as the ARNs of policies and the names of their alarms have.
func (s *service) id() (string, error) {
	b := make([]byte, 16)
	if _, err := io.ReadFull(s.random, b); err != nil {
		return "", platform.Errorf(platform.Internal, "", "no randomness for an id: %w", err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
}

// arn names a policy or a scheduled action of a target.
func (a address) arn(call *api.Call, kind, id, name string) platform.ARN {
	return call.Site.ARN("autoscaling", fmt.Sprintf("%s:%s:resource/sagemaker/%s:%s", kind, id, a.of.ResourceID(), name))
}

func sagemaker() *model.ServiceNamespace { return new(model.ServiceNamespaceSagemaker) }

func dimensionOf(t *platform.ScalableTarget) *model.ScalableDimension {
	return new(model.ScalableDimension(t.Dimension))
}
