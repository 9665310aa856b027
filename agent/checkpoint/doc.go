// Package checkpoint keeps a folder of checkpoints and a prefix of an object store the same, so that a training that is
// killed at any moment goes on from its last complete set of files.
//
// What lives here: what counts as a stable file, how a set of files becomes a generation in the store, what is shipped of
// a file that changed, how a generation is restored and verified, and what is swept when. It knows the store as
// platform.Blobs. What must not: anything about processes, attempts or the control plane; the agent tells of those through
// Config.
//
// # In the store
//
//	{prefix}/{path}                                a file of the folder, byte for byte: for people, and as AWS stores it
//	{prefix}/.stint/{host}/claims/{term}           who writes for this host: the highest term does
//	{prefix}/.stint/{host}/manifests/{term}-{n}    generation n: every file with the object that holds it, and hashes
//	{prefix}/.stint/{host}/intents/{term}-{n}      flat objects that are being made for a generation which is not whole yet
//	{prefix}/.stint/{host}/objects/{term}-{i}      later versions of files, until nothing needs the flat object's content
//
// A generation exists once its manifest does, which is written after all that it names. Nothing that one of the kept
// manifests names is ever overwritten or removed. So the process may be killed between any two requests.
package checkpoint
