package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// model is the part of service-2.json that the generator reads.
type model struct {
	Metadata   metadata                  `json:"metadata"`
	Operations map[string]modelOperation `json:"operations"`
	Shapes     map[string]*modelShape    `json:"shapes"`
}

type metadata struct {
	APIVersion      string           `json:"apiVersion"`
	EndpointPrefix  string           `json:"endpointPrefix"`
	SigningName     string           `json:"signingName"`
	JSONVersion     string           `json:"jsonVersion"`
	Protocols       []string         `json:"protocols"`
	TargetPrefix    string           `json:"targetPrefix"`
	XMLNamespace    string           `json:"xmlNamespace"`
	ServiceFullName string           `json:"serviceFullName"`
	QueryCompatible *json.RawMessage `json:"awsQueryCompatible"`
}

type modelOperation struct {
	Input  *reference  `json:"input"`
	Output *reference  `json:"output"`
	Errors []reference `json:"errors"`
}

type reference struct {
	Shape         string `json:"shape"`
	LocationName  string `json:"locationName"`
	ResultWrapper string `json:"resultWrapper"`
	Flattened     bool   `json:"flattened"`
	unsupportedTraits
}

type modelShape struct {
	Type      string      `json:"type"`
	Members   members     `json:"members"`
	Required  []string    `json:"required"`
	Member    *reference  `json:"member"`
	Key       *reference  `json:"key"`
	Value     *reference  `json:"value"`
	Min       json.Number `json:"min"`
	Max       json.Number `json:"max"`
	Pattern   string      `json:"pattern"`
	Enum      []string    `json:"enum"`
	Open      bool        `json:"-"` // other values than Enum's are legal here
	Union     bool        `json:"union"`
	Sensitive bool        `json:"sensitive"`
	Flattened bool        `json:"flattened"`
	Exception bool        `json:"exception"`
	Fault     bool        `json:"fault"`
	Error     *modelError `json:"error"`
	unsupportedTraits
}

type modelError struct {
	Code           string `json:"code"`
	HTTPStatusCode int    `json:"httpStatusCode"`
	SenderFault    bool   `json:"senderFault"`
}

// unsupportedTraits change what goes over the wire in ways that no codec of the
// services listed so far needs.
type unsupportedTraits struct {
	Location        string `json:"location"`
	Payload         string `json:"payload"`
	Streaming       bool   `json:"streaming"`
	EventStream     bool   `json:"eventstream"`
	JSONValue       bool   `json:"jsonvalue"`
	XMLAttribute    bool   `json:"xmlAttribute"`
	TimestampFormat string `json:"timestampFormat"`
	Document        bool   `json:"document"`
}

func (t unsupportedTraits) check() error {
	if t != (unsupportedTraits{}) {
		return fmt.Errorf("the generator knows no such trait: %+v", t)
	}
	return nil
}

// members keeps the order of the model, which decides the order of fields and of
// validation errors.
type members []namedReference

type namedReference struct {
	name string
	reference
}

func (m *members) UnmarshalJSON(data []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	if _, err := decoder.Token(); err != nil {
		return err
	}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return err
		}
		member := namedReference{name: token.(string)}
		if err := decoder.Decode(&member.reference); err != nil {
			return err
		}
		*m = append(*m, member)
	}
	return nil
}

// readModel finds the newest version of a service's model, plain or gzipped.
func readModel(botocore, service string) (*model, error) {
	versions, err := filepath.Glob(filepath.Join(botocore, service, "*", "service-2.json*"))
	if err != nil {
		return nil, err
	}
	if len(versions) == 0 {
		return nil, fmt.Errorf("botocore has no service %q", service)
	}
	path := slices.Max(versions)
	content, err := readMaybeGzipped(path)
	if err != nil {
		return nil, err
	}
	var parsed model
	if err := json.Unmarshal(content, &parsed); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &parsed, nil
}

func readMaybeGzipped(path string) (content []byte, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if filepath.Ext(path) != ".gz" {
		return io.ReadAll(file)
	}
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(unzipped)
}
