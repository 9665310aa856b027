package iam

import (
	"context"
	"encoding/base64"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/stint-ml/stint/platform"
	model "github.com/stint-ml/stint/shapes/iam"
)

const defaultMaxItems = 100

func limitOf(maxItems *int32) int {
	if maxItems == nil {
		return defaultMaxItems
	}
	return int(*maxItems)
}

// page visits one page of users or roles by name and gives the next page's marker. A filter in visit makes a page shorter,
// never the list: IAM may answer fewer than it was asked for.
func (s *service) page(ctx context.Context, kind platform.Kind, marker *string, maxItems *int32, visit func(*entity)) (*string, error) {
	q := platform.Query{Kind: kind, Sort: platform.ByName, Limit: limitOf(maxItems)}
	if marker != nil {
		q.Token = *marker
	}
	found, err := s.store.List(ctx, q)
	if marker != nil && platform.Is(err, platform.Invalid) {
		return nil, badMarker(*marker)
	}
	if err != nil {
		return nil, err
	}
	for _, rec := range found.Records {
		e, err := readEntity(rec)
		if err != nil {
			return nil, err
		}
		visit(e)
	}
	if found.Next == "" {
		return nil, nil
	}
	return &found.Next, nil
}

// slice gives one page of a list that is at hand as a whole; the marker is a place in it.
func slice[T any](all []T, marker *string, maxItems *int32) ([]T, *string, error) {
	from := 0
	if marker != nil {
		raw, err := base64.RawURLEncoding.DecodeString(*marker)
		if err == nil {
			from, err = strconv.Atoi(string(raw))
		}
		if err != nil || from < 0 || from > len(all) {
			return nil, nil, badMarker(*marker)
		}
	}
	to := min(from+limitOf(maxItems), len(all))
	if to == len(all) {
		return all[from:to:to], nil, nil
	}
	next := base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(to)))
	return all[from:to:to], &next, nil
}

func badMarker(marker string) error {
	return platform.Errorf(platform.Invalid, marker, "Invalid Marker: %s", marker)
}

func hasPrefix(path string, prefix *string) bool {
	return prefix == nil || strings.HasPrefix(path, *prefix)
}

func showTags(tags map[string]string) []model.Tag {
	var shown []model.Tag
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		shown = append(shown, model.Tag{Key: new(key), Value: new(tags[key])})
	}
	return shown
}
