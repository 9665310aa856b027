package sagemaker

import (
	"maps"
	"slices"
	"strings"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// maxTags is AWS's limit for one resource.
const maxTags = 50

// mergeTags lays tags over those a resource has; it keeps AWS's limits.
func mergeTags(have map[string]string, add []sagemaker.Tag) (map[string]string, error) {
	out := map[string]string{}
	maps.Copy(out, have)
	seen := map[string]bool{}
	for _, t := range add {
		switch {
		case seen[*t.Key]:
			return nil, invalid("Duplicate tag keys found; %q is given twice. Please provide unique keys", *t.Key)
		case strings.HasPrefix(strings.ToLower(*t.Key), "aws:"):
			return nil, invalid("Tag keys starting with aws: are reserved for system use; got %q", *t.Key)
		}
		if *t.Key == platform.TagSleep {
			if err := checkSleep(*t.Value); err != nil {
				return nil, err
			}
		}
		seen[*t.Key] = true
		out[*t.Key] = *t.Value
	}
	if len(out) > maxTags {
		return nil, platform.Errorf(platform.LimitExceeded, "", "A resource can have %d tags at most; this one would have %d", maxTags, len(out))
	}
	return out, nil
}

// tagList gives tags in the order of their keys; never nil, as clients want the member to be there.
func tagList(tags map[string]string) []sagemaker.Tag {
	out := []sagemaker.Tag{}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, sagemaker.Tag{Key: ptr(k), Value: ptr(tags[k])})
	}
	return out
}
