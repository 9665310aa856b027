// Package agent is the program that runs beside the user's code and keeps the container contract of SageMaker: it takes
// its assignment from the control plane, lays out /opt/ml, fetches the inputs, runs the user's command as its child, ships
// the log and its metrics, uploads model and output, and reports how it ended.
//
// One agent process serves one attempt of one job on one host, once. While the control plane is away it goes on with its
// work and keeps what it has to say in a spool on disk, so that a restarted server neither harms nor repeats a job.
//
// The package knows the control plane as a platform.AgentLink and the object store as platform.Blobs. It does not know how
// it was started or confined (drivers/runner/…), nor what SM_* variables a script expects (shim). Checkpoints will have
// their place between steps 3 and 4 of Run (restore) and beside the child of step 4 (sync).
package agent
