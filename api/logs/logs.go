// Package logs serves Amazon CloudWatch Logs: groups, streams, and the events that jobs and clients put into them.
//
// Here AWS's calls, words, tokens and limits become calls of platform.Logs. Nothing is kept here, and nothing is known of
// how events are stored. Events of a stream are read in the order in which they arrived; AWS sorts those that arrived at
// about the same time by their timestamps, which is the same as long as a producer's clock does not go backwards.
package logs

import (
	"context"
	"strings"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	model "github.com/stint-ml/stint/shapes/logs"
)

// maxBody holds a full batch of PutLogEvents even when each of its bytes is escaped in JSON.
const maxBody = 8 << 20

type service struct{ store platform.Logs }

// New makes the service.
func New(store platform.Logs) *api.Service {
	s := &service{store}
	return &api.Service{
		Model:   &model.Service,
		Words:   api.LogsWords,
		MaxBody: maxBody,
		Operations: map[string]api.Operation{
			"CreateLogGroup":        {Action: "logs:CreateLogGroup", Resources: onGroup(func(in *model.CreateLogGroupRequest) *string { return in.LogGroupName }), Handle: api.HandleVoid(s.createLogGroup)},
			"DeleteLogGroup":        {Action: "logs:DeleteLogGroup", Resources: onGroup(func(in *model.DeleteLogGroupRequest) *string { return in.LogGroupName }), Handle: api.HandleVoid(s.deleteLogGroup)},
			"DescribeLogGroups":     {Action: "logs:DescribeLogGroups", Resources: onGroup(func(*model.DescribeLogGroupsRequest) *string { return nil }), Handle: api.Handle(s.describeLogGroups)},
			"PutRetentionPolicy":    {Action: "logs:PutRetentionPolicy", Resources: onGroup(func(in *model.PutRetentionPolicyRequest) *string { return in.LogGroupName }), Handle: api.HandleVoid(s.putRetentionPolicy)},
			"DeleteRetentionPolicy": {Action: "logs:DeleteRetentionPolicy", Resources: onGroup(func(in *model.DeleteRetentionPolicyRequest) *string { return in.LogGroupName }), Handle: api.HandleVoid(s.deleteRetentionPolicy)},
			"CreateLogStream": {Action: "logs:CreateLogStream", Handle: api.HandleVoid(s.createLogStream), Resources: onStream(func(in *model.CreateLogStreamRequest) (group, identifier, stream *string) {
				return in.LogGroupName, nil, in.LogStreamName
			})},
			"DeleteLogStream": {Action: "logs:DeleteLogStream", Handle: api.HandleVoid(s.deleteLogStream), Resources: onStream(func(in *model.DeleteLogStreamRequest) (group, identifier, stream *string) {
				return in.LogGroupName, nil, in.LogStreamName
			})},
			"DescribeLogStreams": {Action: "logs:DescribeLogStreams", Handle: api.Handle(s.describeLogStreams), Resources: onStream(func(in *model.DescribeLogStreamsRequest) (group, identifier, stream *string) {
				return in.LogGroupName, in.LogGroupIdentifier, nil
			})},
			"PutLogEvents": {Action: "logs:PutLogEvents", Handle: api.Handle(s.putLogEvents), Resources: onStream(func(in *model.PutLogEventsRequest) (group, identifier, stream *string) {
				return in.LogGroupName, nil, in.LogStreamName
			})},
			"GetLogEvents": {Action: "logs:GetLogEvents", Handle: api.Handle(s.getLogEvents), Resources: onStream(func(in *model.GetLogEventsRequest) (group, identifier, stream *string) {
				return in.LogGroupName, in.LogGroupIdentifier, in.LogStreamName
			})},
			"FilterLogEvents": {Action: "logs:FilterLogEvents", Handle: api.Handle(s.filterLogEvents), Resources: onStream(func(in *model.FilterLogEventsRequest) (group, identifier, stream *string) {
				return in.LogGroupName, in.LogGroupIdentifier, nil
			})},
		},
	}
}

// onGroup makes the resource of an operation on a group. AWS asks for the stream without a name in that group, and for the
// one in the group without a name when the operation is on no group: policies with log-group:NAME:* rely on it.
func onGroup[In any](group func(*In) *string) func(*api.Call, any) []platform.ARN {
	return onStream(func(in *In) (name, identifier, stream *string) { return group(in), nil, nil })
}

// onStream makes the resource of an operation on a stream of a group that is given by name or by identifier.
func onStream[In any](of func(*In) (group, identifier, stream *string)) func(*api.Call, any) []platform.ARN {
	return api.On(func(call *api.Call, in *In) platform.ARN {
		group, identifier, stream := of(in)
		name := shapes.Value(group)
		if group == nil {
			name = nameIn(shapes.Value(identifier))
		}
		return streamARN(call.Site, name, shapes.Value(stream))
	})
}

func groupARN(site platform.Site, group string) platform.ARN {
	return site.ARN("logs", "log-group:"+group)
}

func streamARN(site platform.Site, group, stream string) platform.ARN {
	return groupARN(site, group) + platform.ARN(":log-stream:"+stream)
}

// nameIn is the group's name in an identifier, which is a name or an ARN.
func nameIn(identifier string) string {
	if _, _, _, _, resource, ok := platform.ARN(identifier).Split(); ok {
		return strings.TrimPrefix(resource, "log-group:")
	}
	return identifier
}

// groupName gives the group that a request means. An ARN of another account, region or service names a group that is not
// here.
func groupName(call *api.Call, name, identifier *string) (string, error) {
	switch {
	case name != nil && identifier != nil:
		return "", platform.Errorf(platform.Invalid, *name, "LogGroup name and LogGroup ARN are mutually exclusive parameters.")
	case name != nil:
		return *name, nil
	case identifier == nil:
		return "", platform.Errorf(platform.Invalid, "", "Either logGroupName or logGroupIdentifier must be specified.")
	}
	group := nameIn(*identifier)
	if group != *identifier && *identifier != string(groupARN(call.Site, group)) {
		return "", noGroup(*identifier)
	}
	return group, nil
}

func noGroup(group string) error {
	return platform.Errorf(platform.NotFound, group, "The specified log group does not exist.")
}

func noStream(stream string) error {
	return platform.Errorf(platform.NotFound, stream, "The specified log stream does not exist.")
}

// group finds a group by its name.
func (s *service) group(ctx context.Context, name string) (platform.LogGroup, error) {
	found, _, err := s.store.Groups(ctx, name, "", 1) // in order of names: the name itself comes before all that it begins
	if err != nil {
		return platform.LogGroup{}, err
	}
	if len(found) == 0 || found[0].Name != name {
		return platform.LogGroup{}, noGroup(name)
	}
	return found[0], nil
}

// missing puts the store's error about a stream into AWS's words, which say whether it is the group that is missing.
func (s *service) missing(ctx context.Context, err error, group, stream string) error {
	if !platform.Is(err, platform.NotFound) {
		return err
	}
	if _, err := s.group(ctx, group); err != nil {
		return err
	}
	return noStream(stream)
}

// paged puts the store's error about a page's token into AWS's words.
func paged(err error, token *string) error {
	if token != nil && platform.Is(err, platform.Invalid) {
		return badToken(*token)
	}
	return err
}

func badToken(token string) error {
	return platform.Errorf(platform.Invalid, token, "The specified nextToken is invalid.")
}

// optional gives nil for an empty string, which is no token.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func limitOf(limit *int32, otherwise int) int {
	if limit == nil {
		return otherwise
	}
	return int(*limit)
}
