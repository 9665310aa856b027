// Package drivers holds what more than one driver is built on: Database, the embedded SQLite file under the store and the
// telemetry, and page tokens. Drivers may not import each other, and their common parent is the one place that all of
// them may.
//
// Nothing here knows a port or a noun of the platform beyond its error type; a thing that only one driver needs lives with it.
package drivers
