package api

import (
	"net/http"
	"slices"

	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/wire"
	"github.com/stint-ml/stint/wire/awsjson"
	"github.com/stint-ml/stint/wire/cbor"
	"github.com/stint-ml/stint/wire/query"
)

// protocol is how a request is written, and how its answer will be.
type protocol uint8

const (
	jsonProtocol  protocol = iota // AWS JSON 1.0 and 1.1, and what REST-JSON's errors look like
	queryProtocol                 // AWS Query
	cborProtocol                  // Smithy RPC v2 CBOR
)

// speaks finds the protocol of a request to a service.
func (s *service) speaks(r *http.Request) protocol {
	if _, _, marked := cbor.Target(r); marked && slices.Contains(s.Model.Protocols, "smithy-rpc-v2-cbor") {
		return cborProtocol
	}
	if _, _, targeted := awsjson.Target(r); targeted || !slices.Contains(s.Model.Protocols, "query") {
		return jsonProtocol
	}
	return queryProtocol
}

// names gives the service and the operation that a request names by itself; ok is false when it names none, as Query does.
// Both protocols that do it take the same name for a service.
func names(r *http.Request) (service, operation string, ok bool) {
	if service, operation, ok = cbor.Target(r); ok {
		return service, operation, true
	}
	return awsjson.Target(r)
}

// find finds the operation that a request is for, and of a Query call its form.
func (x *exchange) find(body []byte) (form *query.Request, err error) {
	if x.protocol == queryProtocol {
		if form, err = query.Parse(x.r, body); err != nil {
			return nil, err
		}
		x.call.Operation = form.Action
	} else {
		service, name, named := names(x.r)
		if !named || name == "" { // a REST operation
			return nil, unsupported("Operation " + x.r.Method + " " + x.r.URL.Path)
		}
		if service != x.service.Model.TargetPrefix {
			return nil, unsupported("Operation " + service + "." + name)
		}
		x.call.Operation = name
	}
	if x.operation = x.service.operations[x.call.Operation]; x.operation == nil {
		return nil, unsupported("Operation " + x.call.Operation)
	}
	return form, nil
}

// decode finds the operation and gives its validated input.
func (x *exchange) decode(body []byte) (any, error) {
	form, err := x.find(body)
	if err != nil {
		return nil, err
	}
	model := x.operation.model
	if model.Input == nil {
		return nil, nil
	}
	in := model.NewInput()
	if err := x.read(form, body, in); err != nil {
		return nil, err
	}
	return in, shapes.Validate(model.Input, in)
}

func (x *exchange) read(form *query.Request, body []byte, in any) (err error) {
	if x.protocol == queryProtocol {
		return form.Decode(in)
	}
	if x.protocol == cborProtocol {
		if body, err = cbor.ToJSON(body); err != nil {
			return err
		}
	}
	return shapes.DecodeJSON(body, x.operation.model.Input, in)
}

func (x *exchange) write(out any) error {
	switch x.protocol {
	case queryProtocol:
		return query.Write(x.w, x.r, x.service.Model.XMLNamespace, x.operation.name, out)
	case cborProtocol:
		return cbor.Write(x.w, out)
	default:
		return awsjson.Write(x.w, x.r, out)
	}
}

func (x *exchange) writeError(e *wire.Error) {
	if x.protocol == queryProtocol {
		query.WriteError(x.w, x.r, x.service.Model.XMLNamespace, e)
		return
	}
	// A service that grew up with Query has other codes there than its errors have names. Newer protocols tell the name, and the
	// code in this header: programs that were written against the code read it from there.
	if x.service.Model.QueryCompatible {
		x.w.Header().Set("X-Amzn-Query-Error", e.Code+";"+string(e.Blame()))
		e.Code = x.operation.named(e.Code)
	}
	if x.protocol == cborProtocol {
		cbor.WriteError(x.w, e)
		return
	}
	awsjson.WriteError(x.w, x.r, e)
}

// named gives the name of the error that has a code in the Query protocol; one that the model does not know keeps its code.
func (o *operation) named(code string) string {
	if o == nil {
		return code
	}
	for _, f := range o.model.Errors {
		if f.Code == code {
			return f.Name
		}
	}
	return code
}
