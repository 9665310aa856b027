package platform

import (
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// TargetContainerHeader names the container that an invocation is for, where a model's containers are asked directly, in HTTP's
// canonical form.
const TargetContainerHeader = "X-Amzn-Sagemaker-Target-Container-Hostname"

// ContainerHeader is of an answer that is no success and comes from an instance of several containers: the name of the one
// that it is of.
const ContainerHeader = "X-Stint-Container"

// MostContainers is how many containers a model may have.
const MostContainers = 15

// ModelContainers are what an instance runs of a model: one container, or several that live and end together.
type ModelContainers struct {
	Container sagemaker.ContainerDefinition `json:"container"` // the first
	// Further are the others, in order. Where there are any, all have a ContainerHostname of their own.
	Further []sagemaker.ContainerDefinition `json:"further,omitempty"`
	// Direct: an invocation names the container that it is for. Otherwise the first gets it, each other one what the one before
	// it has answered, and the answer is the last one's.
	Direct bool `json:"direct,omitempty"`
}

// Containers gives all of them in order, which are not to be changed.
func (m *ModelContainers) Containers() []sagemaker.ContainerDefinition {
	return append([]sagemaker.ContainerDefinition{m.Container}, m.Further...)
}

// Resolve finds the runtimes of all containers, in order.
func (m *ModelContainers) Resolve(table Runtimes) (first Runtime, further []Runtime, err error) {
	for i, c := range m.Containers() {
		runtime, err := table.Resolve(shapes.Value(c.Image))
		switch {
		case err != nil:
			return Runtime{}, nil, err
		case i == 0:
			first = runtime
		default:
			further = append(further, runtime)
		}
	}
	return first, further, nil
}
