// Package rig is what the benchmarks share: it starts a Stint server of their own and reaps it, sends signed calls under load, counts
// what processes use, and writes the report. What is measured, against which target and beside which peer, lives with each
// benchmark; nothing here knows.
package rig
