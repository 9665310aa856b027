package agent

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/stint-ml/stint/decide/records"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// Batches is how a transform job's objects are sent to its container.
type Batches struct {
	Address     string // host:port of the container
	Split       sagemaker.SplitType
	Single      bool // one record a request
	Most        int  // bytes of a payload; 0: an object is sent as it is read, whatever its size
	Fill        int  // bytes up to which records are put together, when they are; at most Most
	Concurrent  int  // requests at once
	Timeout     time.Duration
	Retries     int
	ContentType string
	Accept      string
	EndLines    bool                // AssembleWith Line
	Processing  *records.Processing // nil: none
	Clock       platform.Clock
}

// Sender sends objects to a container and gathers its answers.
type Sender interface {
	// Object transforms one object; it may be called for several at once. An error of in or out is returned as it is; Invalid
	// says what is wrong with the data; Refused is what the model answered; any other, that the container did not answer.
	Object(ctx context.Context, in io.Reader, out io.Writer) error
	// Close ends whatever is under way.
	Close()
}

// Refused is an answer of a model that is no success.
type Refused struct {
	Container string // that answered, of several; empty: the only one
	Status    int
	Body      string // its beginning
}

// Error implements error.
func (r *Refused) Error() string {
	if r.Container != "" {
		return fmt.Sprintf("the container %s answered %d %s: %s", r.Container, r.Status, http.StatusText(r.Status), strings.TrimSpace(r.Body))
	}
	return fmt.Sprintf("the model answered %d %s: %s", r.Status, http.StatusText(r.Status), strings.TrimSpace(r.Body))
}
