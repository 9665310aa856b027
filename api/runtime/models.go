package runtime

import (
	"cmp"
	"io"
	"net/http"
	"regexp"
	"strings"
	"unicode"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/wire"
)

// hostnameForm is the service model's, of a container's hostname.
var hostnameForm = regexp.MustCompile(`^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$`)

const longestHostname = 63

// target notes which of many models, or of several containers, an invocation is for.
func target(in *platform.Invocation, h http.Header) error {
	models, containers := h[platform.TargetModelHeader], h[platform.TargetContainerHeader]
	switch {
	case models == nil && containers == nil:
		return nil
	case models != nil && containers != nil:
		return validation("An invocation can name either a TargetModel or a TargetContainerHostname, not both")
	case containers != nil:
		if err := checkForm("targetContainerHostname", containers[0], longestHostname, hostnameForm); err != nil {
			return err
		}
		in.Model, in.Header[platform.TargetContainerHeader] = containers[0], containers[:1]
		return nil
	}
	return targetModel(in, models[0])
}

// conditions are what policies may ask of what an invocation names.
func conditions(h http.Header) map[string][]string {
	models, containers := h[platform.TargetModelHeader], h[platform.TargetContainerHeader]
	if models == nil && containers == nil {
		return nil
	}
	keys := map[string][]string{}
	if models != nil {
		keys["sagemaker:targetmodel"] = models[:1]
	}
	if containers != nil {
		keys["sagemaker:targetcontainerhostname"] = containers[:1]
	}
	return keys
}

// targetModel notes a model. Its name is the rest of an S3 key and never a path of any machine; all the same, one that would
// lead out of the models' prefix if it were a path is refused.
func targetModel(in *platform.Invocation, name string) error {
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

// refusedFor is the kind of refusal that an answer is, empty when it is the container's own. Only an instance of many models, or
// of several containers, refuses anything itself; that one of these did not answer is all that the word of a single one would say.
func refusedFor(in platform.Invocation, a *platform.Answer) string {
	kind := http.Header(a.Header).Get(platform.RefusedHeader)
	if in.Model == "" && kind != platform.RefusedBroken && kind != platform.RefusedLate {
		return ""
	}
	return kind
}

// refused says in AWS's words why a model or a container did not get the request, or did not answer it.
func (s *service) refused(call *api.Call, w http.ResponseWriter, endpoint, kind string, a *platform.Answer) error {
	text, err := io.ReadAll(io.LimitReader(a.Body, maxOriginal))
	if err != nil {
		return err
	}
	switch kind {
	case platform.RefusedBroken, platform.RefusedLate:
		return s.failed(call, endpoint, containerOf(a), 0, string(text))
	case platform.RefusedMissing:
		return validation(string(text))
	case platform.RefusedUnready:
		w.Header().Set("Retry-After", retryAfter)
		return &wire.Error{Status: http.StatusTooManyRequests, Code: "ModelNotReadyException", Message: string(text)}
	}
	w.Header().Set("Retry-After", retryAfter)
	return &wire.Error{Status: http.StatusServiceUnavailable, Code: "ServiceUnavailable", Message: string(text)}
}

// primary is what AWS calls the container of a model that has one.
const primary = "primary"

// containerOf names the container that an answer is of.
func containerOf(a *platform.Answer) string {
	return cmp.Or(http.Header(a.Header).Get(platform.ContainerHeader), primary)
}
