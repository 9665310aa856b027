package runtime

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
	"github.com/stint-ml/stint/wire"
)

const (
	asyncPath     = "async-invocations"
	maxInlineBody = 128_000 // AWS's bytes, of an asynchronous invocation whose input is not in S3
)

// The headers of an asynchronous invocation, beside those that it shares with a stream.
const (
	headerInput     = "X-Amzn-Sagemaker-Inputlocation"
	headerTTL       = "X-Amzn-Sagemaker-Requestttlseconds"
	headerTimeout   = "X-Amzn-Sagemaker-Invocationtimeoutseconds"
	headerInference = "X-Amzn-Sagemaker-Inference-Id"
	headerExtension = "X-Amzn-Sagemaker-S3outputpathextension"
	headerFilename  = "X-Amzn-Sagemaker-Filename"
	headerOutput    = "X-Amzn-Sagemaker-Outputlocation"
	headerFailure   = "X-Amzn-Sagemaker-Failurelocation"
)

var (
	inputForm     = regexp.MustCompile(`^(https|s3)://([^/]+)/?(.*)$`)
	inferenceForm = regexp.MustCompile(`^[!-~][ -~]*$`)
	extensionForm = regexp.MustCompile(`^[a-zA-Z0-9!_.*'()/-]+$`)
	filenameForm  = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]*(\.[a-zA-Z0-9_-]*)?$`) // AWS's, which has one dot at most, without lookahead
)

// enqueue writes an asynchronous invocation down and says where its answer will be. All that comes later is the control plane's.
func (s *service) enqueue(ctx context.Context, call *api.Call, w http.ResponseWriter, r *http.Request, name string, body []byte) error {
	if err := call.Authorize(ctx, "sagemaker:InvokeEndpointAsync", call.Site.ARN("sagemaker", "endpoint/"+name), nil); err != nil {
		return err
	}
	// 1. What is asked must be whole.
	in := &platform.AsyncInvocation{Endpoint: name, Arrived: call.Now, Body: body, Header: map[string][]string{}}
	if err := readAsync(in, r.Header); err != nil {
		return err
	}
	// 2. The endpoint says where answers go.
	to, err := s.queueOf(ctx, call, name, in)
	if err != nil {
		return err
	}
	extension, filename := r.Header.Get(headerExtension), r.Header.Get(headerFilename)
	in.Output, in.Named = platform.URI(*to.S3OutputPath).Join(pieces(extension, cmp.Or(filename, in.ID+".out"))...), filename != ""
	if to.S3FailurePath != nil {
		in.Failure = platform.URI(*to.S3FailurePath).Join(pieces(extension, in.ID+"-error.out")...)
	}
	// 3. It is owed from here on.
	rec, err := in.Record()
	if err != nil {
		return err
	}
	if err := s.Store.Commit(ctx, platform.Tx{Puts: []platform.Put{{Record: rec}}}); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set(headerOutput, string(in.Output))
	if in.Failure != "" {
		h.Set(headerFailure, string(in.Failure))
	}
	answer, err := json.Marshal(map[string]string{"InferenceId": in.InferenceID})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	_, err = w.Write(answer)
	return err
}

// pieces are the parts of a path that are there.
func pieces(all ...string) (some []string) {
	for _, p := range all {
		if p != "" {
			some = append(some, p)
		}
	}
	return some
}

// readAsync reads what the headers say.
func readAsync(in *platform.AsyncInvocation, h http.Header) (err error) {
	if err := checkAsync(in, h); err != nil {
		return err
	}
	in.Input = platform.URI(h.Get(headerInput))
	if in.TTL, err = seconds(h, headerTTL, "requestTTLSeconds", 60, platform.DefaultRequestTTL, platform.DefaultRequestTTL); err != nil {
		return err
	}
	if in.Timeout, err = seconds(h, headerTimeout, "invocationTimeoutSeconds", 1, 3600, platform.DefaultInvocationTimeout); err != nil {
		return err
	}
	in.ID, in.InferenceID = wire.NewRequestID(), cmp.Or(h.Get(headerInference), wire.NewRequestID())
	for to, from := range map[string]string{"Content-Type": headerContentType, "Accept": headerAccept, headerAttributes: headerAttributes} {
		if v := h.Values(from); len(v) > 0 {
			in.Header[to] = v
		}
	}
	in.Header[headerInference] = []string{in.InferenceID}
	return nil
}

// checkAsync refuses what is not whole.
func checkAsync(in *platform.AsyncInvocation, h http.Header) error {
	input := h.Get(headerInput)
	switch {
	case input != "" && len(in.Body) > 0:
		return validation("Provide either InputLocation or Body, not both.")
	case input == "" && len(in.Body) == 0:
		return validation("Either InputLocation or Body must be provided.")
	case len(in.Body) > maxInlineBody:
		return validation(fmt.Sprintf("The Body of an asynchronous invocation may have at most %d bytes; it has %d. Upload it and provide its InputLocation.", maxInlineBody, len(in.Body)))
	}
	if err := checkForm("s3OutputPathExtension", h.Get(headerExtension), 512, extensionForm); err != nil {
		return err
	}
	if err := checkForm("filename", h.Get(headerFilename), 32, filenameForm); err != nil {
		return err
	}
	if err := checkForm("inferenceId", h.Get(headerInference), 64, inferenceForm); err != nil {
		return err
	}
	return checkInput(input)
}

// checkInput takes the locations that AWS takes and that are in this server's object store. Whether something is there is seen when it
// is needed, as at AWS.
func checkInput(input string) error {
	if input == "" {
		return nil
	}
	if err := checkForm("inputLocation", input, 1024, inputForm); err != nil {
		return err
	}
	if _, key, err := platform.URI(input).Split(); err != nil || key == "" {
		return validation(fmt.Sprintf("InputLocation %q must name an object, as s3://bucket/key.", input))
	}
	return nil
}

// checkForm checks an optional value as the service model has it.
func checkForm(member, value string, longest int, form *regexp.Regexp) error {
	broken := ""
	switch {
	case value == "":
	case len(value) > longest:
		broken = fmt.Sprintf("length less than or equal to %d", longest)
	case !form.MatchString(value):
		broken = "satisfy regular expression pattern: " + form.String()
	}
	return constraint(member, value, broken)
}

func constraint(member, value, broken string) error {
	if broken == "" {
		return nil
	}
	if !strings.HasPrefix(broken, "satisfy") {
		broken = "have " + broken
	}
	return validation(fmt.Sprintf("1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must %s", value, member, broken))
}

// seconds reads a number of seconds between bounds; otherwise is what holds when none is said.
func seconds(h http.Header, header, member string, least, most, otherwise platform.Seconds) (platform.Seconds, error) {
	text := h.Get(header)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return 0, &shapes.SerializationError{Message: fmt.Sprintf("%s must be an integer; got %q", header, text)}
	}
	broken := ""
	switch v := platform.Seconds(n); {
	case v < least:
		broken = fmt.Sprintf("value greater than or equal to %d", least)
	case v > most:
		broken = fmt.Sprintf("value less than or equal to %d", most)
	}
	return platform.Seconds(n), constraint(member, text, broken)
}

// queueOf finds out which endpoint it is that takes the invocation, and where it puts its answers.
func (s *service) queueOf(ctx context.Context, call *api.Call, name string, in *platform.AsyncInvocation) (*sagemaker.AsyncInferenceOutputConfig, error) {
	unknown := validation(fmt.Sprintf("Endpoint %s of account %s not found.", name, call.Site.Account))
	rec, err := s.Store.Get(ctx, platform.Key{Kind: platform.KindEndpoint, Name: name})
	if platform.Is(err, platform.NotFound) {
		return nil, unknown
	}
	if err != nil {
		return nil, err
	}
	e, err := platform.ReadEndpoint(rec)
	if err != nil {
		return nil, err
	}
	st := &e.Status
	switch {
	case st.Serving == nil || st.State == platform.EndpointDeleting:
		return nil, unknown
	case st.Serving.Async == nil:
		return nil, validation(fmt.Sprintf("Endpoint %s is not an asynchronous endpoint. Use InvokeEndpoint to invoke it.", name))
	}
	in.Of = st.Created
	return st.Serving.Async.OutputConfig, nil
}
