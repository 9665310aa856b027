// Package rig is what the benchmarks share: it runs one from its folder to its report, starts a Stint server and reaps it, brings up
// endpoints, sends signed calls under load, and counts what processes use. What is measured, against which target and beside which
// peer, lives with each benchmark; nothing here knows.
package rig
