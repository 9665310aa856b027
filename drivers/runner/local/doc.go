// Package local is platform.Runner on one Linux machine: each agent is a process of its own that outlives the server, in its
// own mount, pid, ipc and uts namespaces (and a user namespace when the server is not root), under the limits of a cgroup
// where one can be had.
//
// New and the Runner's methods run in the server; Enter runs in the agent's process, as the first thing it does, and gives
// the process its view of the machine. What an agent does after that is package agent's.
//
// # Whether an agent exists
//
// An agent has a folder, Config.Dir/<id>, and everything about it follows from what is there:
//
//	bootstrap.json   what the agent is given. The folder appears whole, by rename, with this file in it.
//	launched.json    written by the server when the process exists, with its number and start time.
//	started          made by the agent itself, at most once for all time (link(2) fails when it exists), with a POSIX lock
//	                 held on it until the process is gone. The lock is taken before the name appears, so whoever sees the
//	                 name and finds no lock knows that the agent has ended. F_GETLK tells who holds it, in the kernel's words.
//	                 The agent touches it every second: an end that no server saw is dated by it.
//	ended.json       written by the server when it notices the end: when, and how if it knows.
//
// So a server killed at any moment leaves one of these:
//   - neither "launched.json" nor "started": Start did not return. A process may be on its way. New clears every trace, under
//     a lock that an agent must take too before it may begin, and a process that comes late finds nothing, or the
//     folder of another launch, and ends. The caller's next Start begins anew.
//   - "launched.json" alone: the process has not begun yet, or ended before it could. Its number and start time tell which;
//     this is the one moment in which a process id is relied on. It is not started again.
//   - "started": the lock tells whether the agent lives. It is not started again.
//
// Thus an agent begins at most once, as "started" can be made only once, and at least once, as a Start that did not return is
// repeated by its caller.
//
// # What a job sees
//
// The machine's files, with these places exchanged (see view.go): /opt/ml is the job's own; /tmp, /var/tmp and /dev/shm are
// private; the folders in Config.Hide, other agents' folders among them, are gone. What Config.Show names stays visible where
// it lies, even below a private or closed folder: a server whose data or whose Python environments lie in /tmp or under
// root's home works. The user's code runs as a user id that no other running job has, without any capability.
//
// An agent that comes after another (AgentSpec.Previous) reads what that one left, as long as it is not removed: by paths that
// only the agent's own process can use, so its job does not.
//
// Limits: one machine, one server for each Dir (it is locked), a local file system for Dir. The network is the machine's.
package local
