package logs

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	model "github.com/stint-ml/stint/shapes/logs"
)

// defaultDescribeLimit is of groups and of streams.
const defaultDescribeLimit = 50

func (s *service) createLogGroup(ctx context.Context, _ *api.Call, in *model.CreateLogGroupRequest) error {
	for _, o := range []struct {
		given bool
		what  string
	}{
		{in.KmsKeyId != nil, "a KMS key"},
		{len(in.Tags) > 0, "tags"},
		{in.LogGroupClass != nil && *in.LogGroupClass != model.LogGroupClassStandard, "a log class other than STANDARD"},
		{shapes.Value(in.DeletionProtectionEnabled), "deletion protection"},
	} {
		if o.given { // in silence it would promise what is not kept
			return platform.Errorf(platform.NotSupported, *in.LogGroupName, "CreateLogGroup with %s is not supported by this server", o.what)
		}
	}
	err := s.store.CreateGroup(ctx, *in.LogGroupName)
	if platform.Is(err, platform.AlreadyExists) {
		return platform.Errorf(platform.AlreadyExists, *in.LogGroupName, "The specified log group already exists")
	}
	return err
}

func (s *service) deleteLogGroup(ctx context.Context, _ *api.Call, in *model.DeleteLogGroupRequest) error {
	return onMissingGroup(s.store.DeleteGroup(ctx, *in.LogGroupName), *in.LogGroupName)
}

// onMissingGroup puts the store's error about a group into AWS's words.
func onMissingGroup(err error, group string) error {
	if platform.Is(err, platform.NotFound) {
		return noGroup(group)
	}
	return err
}

// retentions are the days that AWS keeps events for, where not for ever.
var retentions = []int32{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}

func (s *service) putRetentionPolicy(ctx context.Context, _ *api.Call, in *model.PutRetentionPolicyRequest) error {
	days := *in.RetentionInDays
	if !slices.Contains(retentions, days) {
		allowed := make([]string, len(retentions))
		for i, d := range retentions {
			allowed[i] = strconv.Itoa(int(d))
		}
		return platform.Errorf(platform.Invalid, *in.LogGroupName,
			"1 validation error detected: Value '%d' at 'retentionInDays' failed to satisfy constraint: Member must satisfy enum value set: [%s]", days, strings.Join(allowed, ", "))
	}
	return onMissingGroup(s.store.SetRetention(ctx, *in.LogGroupName, int(days)), *in.LogGroupName)
}

func (s *service) deleteRetentionPolicy(ctx context.Context, _ *api.Call, in *model.DeleteRetentionPolicyRequest) error {
	return onMissingGroup(s.store.SetRetention(ctx, *in.LogGroupName, 0), *in.LogGroupName)
}

// checkGroupFilters refuses filters that exclude each other, and those that this server has not.
func checkGroupFilters(in *model.DescribeLogGroupsRequest) error {
	switch {
	case in.LogGroupNamePrefix != nil && in.LogGroupNamePattern != nil:
		return platform.Errorf(platform.Invalid, "", "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
	case shapes.Value(in.IncludeLinkedAccounts) || len(in.AccountIdentifiers) > 0:
		return platform.Errorf(platform.NotSupported, "", "DescribeLogGroups of linked accounts is not supported by this server")
	case len(in.LogGroupIdentifiers) > 0:
		return platform.Errorf(platform.NotSupported, "", "DescribeLogGroups with logGroupIdentifiers is not supported by this server")
	default:
		return nil
	}
}

func (s *service) describeLogGroups(ctx context.Context, call *api.Call, in *model.DescribeLogGroupsRequest) (*model.DescribeLogGroupsResponse, error) {
	if err := checkGroupFilters(in); err != nil {
		return nil, err
	}
	out := &model.DescribeLogGroupsResponse{LogGroups: []model.LogGroup{}}
	if in.LogGroupClass != nil && *in.LogGroupClass != model.LogGroupClassStandard {
		return out, nil
	}
	limit, next := limitOf(in.Limit, defaultDescribeLimit), shapes.Value(in.NextToken)
	for len(out.LogGroups) < limit {
		var found []platform.LogGroup
		var err error
		// Never more than there is room for, so that the store's token is right for our page, too.
		found, next, err = s.store.Groups(ctx, shapes.Value(in.LogGroupNamePrefix), next, limit-len(out.LogGroups))
		if err != nil {
			return nil, paged(err, in.NextToken)
		}
		for _, g := range found {
			if strings.Contains(g.Name, shapes.Value(in.LogGroupNamePattern)) {
				out.LogGroups = append(out.LogGroups, showGroup(call.Site, g))
			}
		}
		if next == "" {
			break
		}
	}
	out.NextToken = optional(next)
	return out, nil
}

func showGroup(site platform.Site, g platform.LogGroup) model.LogGroup {
	arn := string(groupARN(site, g.Name))
	shown := model.LogGroup{
		LogGroupName:              &g.Name,
		CreationTime:              new(g.Created.UnixMilli()),
		MetricFilterCount:         new(int32(0)),
		Arn:                       new(arn + ":*"),
		StoredBytes:               &g.StoredBytes,
		LogGroupClass:             new(model.LogGroupClassStandard),
		LogGroupArn:               &arn,
		DeletionProtectionEnabled: new(false),
	}
	if g.RetentionDays > 0 {
		shown.RetentionInDays = new(int32(g.RetentionDays))
	}
	return shown
}
