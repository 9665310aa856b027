package platform

import (
	"context"
	"time"
)

// AgentID names one agent for all time: one attempt of one job on one host. It is a safe file name of at most 63 characters.
type AgentID string

// AgentSpec is all that a Runner knows of an agent. What it is to do, the agent asks the control plane with Token.
type AgentSpec struct {
	ID       AgentID
	Owner    Key // the resource it works for; the Runner only keeps it
	Token    string
	Host     string   // the name by which the job's processes know their machine: algo-1
	Capacity Capacity // limits for the agent and all its children
	// Previous is the agent of the attempt before on the same host, if there was one. Where it ran on the same machine and is
	// not removed yet, the new agent may look at the checkpoints that it left; the job's own processes may not.
	Previous AgentID
}

// AgentStatus is what a Runner sees of an agent.
type AgentStatus struct {
	ID      AgentID
	Owner   Key // as in its AgentSpec
	Running bool
	Ended   time.Time // when Running is false; when it was noticed if the exact time is not known
	Detail  string    // how it ended, for people: "killed by signal 9", "out of memory"
}

// Runner starts, stops and lists agents, and knows nothing of jobs. Agents outlive the Runner's process.
// Every method is safe for concurrent use and may be called again after a crash.
type Runner interface {
	// Start launches an agent and returns when it exists, not when it is ready. An ID that was started before is not
	// started again, whether it still runs or has ended: Start then does nothing and succeeds. After an error no agent
	// runs; Unavailable: try later.
	Start(ctx context.Context, spec AgentSpec) error
	// Stop asks the agent to end in order; it returns at once. The agent itself gives its child the grace that the
	// assignment names. NotFound and ended agents are success.
	Stop(ctx context.Context, id AgentID) error
	// Kill ends the agent and everything below it at once. NotFound is success.
	Kill(ctx context.Context, id AgentID) error
	// Remove forgets an ended agent and deletes what it left on the machine; a running one is InUse. NotFound is success.
	Remove(ctx context.Context, id AgentID) error
	// List gives every agent that was started and not removed, also those started by an earlier process.
	List(ctx context.Context) ([]AgentStatus, error)
	// Ended delivers the id of each agent soon (well under a second) after it ended, once per process; it never closes
	// before Close. A reader that missed some finds them by List.
	Ended() <-chan AgentID
	// Capacity is what the whole machine or cluster can give to agents.
	Capacity(ctx context.Context) (Capacity, error)
	// Close stops watching; agents go on.
	Close() error
}

// Undelivered is optional in a Runner: it reads the reports that an ended agent wrote down and could not deliver.
type Undelivered interface {
	// Reports gives the reports above seq in order; none when there are none or the agent is unknown.
	Reports(ctx context.Context, id AgentID, after int64) ([]Report, error)
}

// MemoryMeter is optional in a Runner: it tells how much memory the processes below an agent have now, what they share counted
// once. known is false when that cannot be told.
type MemoryMeter interface {
	MemoryInUse(id AgentID) (bytes int64, known bool)
}
