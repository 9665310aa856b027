// Package platform holds the nouns of Stint and the ports through which it meets the world.
//
// A noun is one file: its Spec, its Status, the table of its legal transitions and what validation the API's own
// constraints do not cover. A port is an interface whose comment is its contract: Store, Logs, Metrics, Blobs, Runner,
// Runtimes, AgentLink and Clock.
//
// Nothing here does I/O, reads a clock, starts a goroutine or imports anything of ours but shapes.
package platform
