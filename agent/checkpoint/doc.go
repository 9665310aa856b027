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
//	{prefix}/.stint/{host}/claims/{term}-0         who writes for this host: the highest term does
//	{prefix}/.stint/{host}/manifests/{term}-{n}    generation n: every file with the object that holds it, and checksums (JSON, gzip)
//	{prefix}/.stint/{host}/intents/{term}-{i}      flat objects that are being made and that no manifest tells of yet
//	{prefix}/.stint/{host}/objects/{term}-{i}      later versions of files, until nothing needs the flat object's content
//
// A generation exists once its manifest does, which is written after all that it names. The last two are kept, and nothing that
// they name is ever overwritten or removed. So the process may be killed between any two requests.
//
// # Versions
//
// The first version of a path goes to its flat object, which must be new. Later ones go to objects of our own; of large files
// only the chunks that changed are sent, the rest is copied within the store. A file that was renamed or linked is not sent: the
// manifest names the object that holds it. Flat objects are brought up to date by copies, once no kept generation needs what they
// hold: now and then while the job runs, all of them in Final.
//
// # Several hosts, several attempts
//
// Each host has manifests of its own, of the files that it wrote. Restore gives every host the union. Of a path that several have
// written, each gets its own version back, a host that has none the one that was written last, and the flat object is of the
// host that made it first. What a host got from another is not its own until it writes to it. Generations of different hosts are
// not from the same moment.
//
// An attempt claims its host by a term before it looks what there is. Who finds a later claim of its job stops: it looks for one
// between each commit and whatever destroys something. A later attempt builds on what was committed before it claimed, and that
// is kept by an attempt that finds no claim.
//
// Objects below the prefix that no manifest and no intent names were put there by hand: they are restored, as on AWS, and not
// removed, but by a training that writes a file of the same name over them.
package checkpoint
