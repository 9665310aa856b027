package runtime

import (
	"io"
	"net/http"
	"strings"
	"unicode"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/wire"
)

// target notes which of many models an invocation is for. The name is the rest of an S3 key and never a path of any machine;
// all the same, one that would lead out of the models' prefix if it were a path is refused.
func target(in *platform.Invocation, h http.Header) error {
	name := h.Get(platform.TargetModelHeader)
	if name == "" {
		return nil
	}
	if len(name) > platform.LongestTargetModel || strings.ContainsFunc(name, unprintable) {
		return validation("1 validation error detected: Value at 'targetModel' failed to satisfy constraint: " +
			"Member must have length less than or equal to 1024 and must satisfy regular expression pattern: \\A\\S[\\p{Print}]*\\z")
	}
	for _, element := range strings.Split(strings.TrimPrefix(name, "/"), "/") {
		if element == "" || element == "." || element == ".." {
			return validation("TargetModel " + name + " is not a path below the ModelDataUrl of the endpoint's model")
		}
	}
	in.Model = name
	in.Header[platform.TargetModelHeader] = []string{name}
	return nil
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// refusedFor is the kind of refusal that an answer is, empty when it is the container's own. Only an instance of many models
// refuses anything itself.
func refusedFor(in platform.Invocation, a *platform.Answer) string {
	if in.Model == "" {
		return ""
	}
	return http.Header(a.Header).Get(platform.RefusedHeader)
}

// refusedModel says in AWS's words why a model did not get the request.
func (s *service) refusedModel(w http.ResponseWriter, kind string, a *platform.Answer) error {
	text, err := io.ReadAll(io.LimitReader(a.Body, maxOriginal))
	if err != nil {
		return err
	}
	switch kind {
	case platform.RefusedMissing:
		return validation(string(text))
	case platform.RefusedUnready:
		w.Header().Set("Retry-After", retryAfter)
		return &wire.Error{Status: http.StatusTooManyRequests, Code: "ModelNotReadyException", Message: string(text)}
	}
	w.Header().Set("Retry-After", retryAfter)
	return &wire.Error{Status: http.StatusServiceUnavailable, Code: "ServiceUnavailable", Message: string(text)}
}
