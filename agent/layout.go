package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// contractRoot is what the contract calls Config.Root.
const contractRoot = "/opt/ml"

// The places of the contract under Config.Root.
const (
	configFolder     = "input/config"
	dataFolder       = "input/data"
	modelFolder      = "model"
	outputFolder     = "output/data"
	codeFolder       = "code"
	checkpointFolder = "checkpoints"
	homeFolder       = "home" // not of the contract: $HOME, as the user has no home of its own
)

// defaultGroup is the instance group of a job that names none.
const defaultGroup = "homogeneousCluster"

// resourceConfig is resourceconfig.json.
type resourceConfig struct {
	CurrentHost         string          `json:"current_host"`
	CurrentInstanceType string          `json:"current_instance_type"`
	CurrentGroupName    string          `json:"current_group_name"`
	Hosts               []string        `json:"hosts"`
	InstanceGroups      []instanceGroup `json:"instance_groups"`
	NetworkInterface    string          `json:"network_interface_name"`
}

type instanceGroup struct {
	Name         string   `json:"instance_group_name"`
	InstanceType string   `json:"instance_type"`
	Hosts        []string `json:"hosts"`
}

// channelConfig is one entry of inputdataconfig.json.
type channelConfig struct {
	TrainingInputMode  string `json:"TrainingInputMode"`
	S3DistributionType string `json:"S3DistributionType"`
	RecordWrapperType  string `json:"RecordWrapperType"`
	ContentType        string `json:"ContentType,omitempty"`
}

// checkpointConfig is checkpointconfig.json, with the default that a request may leave out.
type checkpointConfig struct {
	LocalPath string `json:"LocalPath"`
	S3Uri     string `json:"S3Uri"`
}

// layOut makes the folders of the contract and writes the configuration files.
func (a *agent) layOut() error {
	for _, folder := range []string{"", "input", configFolder, dataFolder, modelFolder, "output", outputFolder, checkpointFolder, homeFolder} {
		if err := a.owned(filepath.Join(a.Root, folder)); err != nil {
			return err
		}
	}
	hyperparameters := a.spec.HyperParameters
	if hyperparameters == nil {
		hyperparameters = map[string]string{}
	}
	files := map[string]any{
		"hyperparameters.json": hyperparameters,
		"resourceconfig.json":  a.resources(),
		"inputdataconfig.json": a.channels(),
	}
	if spec := a.spec.CheckpointConfig; spec != nil {
		files["checkpointconfig.json"] = checkpointConfig{S3Uri: shapes.Value(spec.S3Uri), LocalPath: cmp.Or(shapes.Value(spec.LocalPath), contractRoot+"/"+checkpointFolder)}
	}
	for name, content := range files {
		doc, err := json.Marshal(content)
		if err != nil {
			return platform.Errorf(platform.Internal, name, "encode %s: %w", name, err)
		}
		path := filepath.Join(a.Root, configFolder, name)
		if err := os.WriteFile(path, doc, 0o644); err != nil {
			return diskError(path, err)
		}
		if err := a.own(path); err != nil {
			return err
		}
	}
	return nil
}

// resources describes the cluster of the job. A job with instance groups has their hosts in the order of the groups.
func (a *agent) resources() resourceConfig {
	spec := a.spec.ResourceConfig
	r := resourceConfig{
		CurrentHost: a.job.Host, Hosts: a.job.Hosts, NetworkInterface: hostInterface(a.job.Host, len(a.job.Hosts)),
		CurrentInstanceType: string(shapes.Value(spec.InstanceType)), CurrentGroupName: defaultGroup,
	}
	if len(spec.InstanceGroups) == 0 {
		r.InstanceGroups = []instanceGroup{{Name: defaultGroup, InstanceType: r.CurrentInstanceType, Hosts: a.job.Hosts}}
		return r
	}
	hosts := a.job.Hosts
	for _, g := range spec.InstanceGroups {
		n := min(len(hosts), int(shapes.Value(g.InstanceCount)))
		group := instanceGroup{Name: shapes.Value(g.InstanceGroupName), InstanceType: string(shapes.Value(g.InstanceType)), Hosts: hosts[:n]}
		hosts = hosts[n:]
		r.InstanceGroups = append(r.InstanceGroups, group)
		for _, h := range group.Hosts {
			if h == a.job.Host {
				r.CurrentInstanceType, r.CurrentGroupName = group.InstanceType, group.Name
			}
		}
	}
	return r
}

// hostInterface names the network interface that carries the host's address, by which the hosts of a job talk to each other:
// "lo" when they share one machine, or when there is one host only. It looks no further than the hosts file would take it.
func hostInterface(host string, hosts int) string {
	if hosts < 2 {
		return "lo"
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	found, err := (&net.Resolver{PreferGo: true}).LookupHost(ctx, host)
	interfaces, ifErr := net.Interfaces()
	if err != nil || ifErr != nil {
		return "lo"
	}
	for _, i := range interfaces {
		addresses, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, address := range addresses {
			network, ok := address.(*net.IPNet)
			for _, ip := range found {
				if ok && network.IP.Equal(net.ParseIP(ip)) {
					return i.Name
				}
			}
		}
	}
	return "lo"
}

// channels describes the inputs. FastFile is written as File: the files are there, as the user's code expects of it.
func (a *agent) channels() map[string]channelConfig {
	channels := map[string]channelConfig{}
	for _, ch := range a.spec.InputDataConfig {
		c := channelConfig{
			TrainingInputMode:  string(a.inputMode(ch)),
			S3DistributionType: string(sagemaker.S3DataDistributionFullyReplicated),
			RecordWrapperType:  string(sagemaker.RecordWrapperNone),
			ContentType:        shapes.Value(ch.ContentType),
		}
		if c.TrainingInputMode == string(sagemaker.TrainingInputModeFastFile) {
			c.TrainingInputMode = string(sagemaker.TrainingInputModeFile)
		}
		if ch.RecordWrapperType != nil {
			c.RecordWrapperType = string(*ch.RecordWrapperType)
		}
		if ch.DataSource != nil && ch.DataSource.S3DataSource != nil && ch.DataSource.S3DataSource.S3DataDistributionType != nil {
			c.S3DistributionType = string(*ch.DataSource.S3DataSource.S3DataDistributionType)
		}
		channels[shapes.Value(ch.ChannelName)] = c
	}
	return channels
}
