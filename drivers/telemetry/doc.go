// Package telemetry holds what every driver of platform.Logs and platform.Metrics shares: checks of what comes in, limits,
// the order of events across streams and the tokens of pages. Each driver is a package below; telemetrytest is the suite
// that all of them pass.
//
// Nothing here keeps an event or touches a disk.
package telemetry
