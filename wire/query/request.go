package query

import (
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/stint-ml/stint/wire"
)

// Bounds on what one request may ask to be held in memory, beside the bound on
// its body. The largest real calls, CloudWatch's with 1,000 metrics, stay far
// below both.
const (
	maxParameters = 50_000
	maxDepth      = 32
)

// Request is a parsed call: what it asks for, and its parameters.
type Request struct {
	Action  string // operation, "AssumeRole"
	Version string // API version, "2011-06-15"
	root    *node
}

// node is one step of a dotted parameter name.
type node struct {
	value    string
	given    bool // the name ends here and has a value, possibly ""
	children map[string]*node
}

// Parse reads a call from the query string and, in a POST, the form in body. A
// parameter that is given twice is refused, so that no two readers can see
// different calls. Every error is a *wire.Error.
func Parse(r *http.Request, body []byte) (*Request, error) {
	q := &Request{root: &node{}}
	count := 0
	if err := q.add(r.URL.RawQuery, &count); err != nil {
		return nil, err
	}
	if r.Method == http.MethodPost {
		if err := checkFormType(r.Header.Get("Content-Type"), body); err != nil {
			return nil, err
		}
		if err := q.add(string(body), &count); err != nil {
			return nil, err
		}
	}
	q.Action, q.Version = q.root.text("Action"), q.root.text("Version")
	if q.Action == "" {
		return nil, &wire.Error{
			Status:  http.StatusBadRequest,
			Code:    "MissingAction",
			Message: "The request is missing an action or a required parameter: give 'Action'.",
			Fault:   wire.Sender,
		}
	}
	return q, nil
}

func checkFormType(contentType string, body []byte) error {
	if contentType == "" || len(body) == 0 {
		return nil
	}
	if media, _, err := mime.ParseMediaType(contentType); err == nil && media == "application/x-www-form-urlencoded" {
		return nil
	}
	return malformed("Content-Type must be 'application/x-www-form-urlencoded', got '" + contentType + "'")
}

// add splits one form into the tree.
func (q *Request) add(form string, count *int) error {
	for form != "" {
		var pair string
		pair, form, _ = strings.Cut(form, "&")
		if pair == "" {
			continue
		}
		if *count++; *count > maxParameters {
			return malformed(fmt.Sprintf("The request has more than %d parameters", maxParameters))
		}
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(rawName)
		if err != nil {
			return malformed("The parameter name '" + rawName + "' is not validly percent-encoded")
		}
		value, err := url.QueryUnescape(rawValue)
		if err != nil {
			return malformed("The value of the parameter '" + name + "' is not validly percent-encoded")
		}
		if err := q.root.set(name, value); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) set(name, value string) error {
	rest, more := name, true
	for depth := 0; more; depth++ {
		if depth == maxDepth {
			return malformed(fmt.Sprintf("The parameter '%.64s…' is nested more than %d levels deep", name, maxDepth))
		}
		var step string
		step, rest, more = strings.Cut(rest, ".")
		child := n.children[step]
		if child == nil {
			child = &node{}
			if n.children == nil {
				n.children = make(map[string]*node)
			}
			n.children[step] = child
		}
		n = child
	}
	if n.given {
		return malformed("The parameter '" + name + "' is given more than once")
	}
	n.value, n.given = value, true
	return nil
}

// text returns the value of a parameter at the top, "" when it is absent.
func (n *node) text(name string) string {
	if child := n.children[name]; child != nil {
		return child.value
	}
	return ""
}

func malformed(message string) *wire.Error {
	return &wire.Error{Status: http.StatusBadRequest, Code: "MalformedInput", Message: message, Fault: wire.Sender}
}
