// Package store holds what every driver of platform.Store shares: the check of a transaction, the Index that answers
// lists, page tokens and the Watchers. Each driver is a package below; storetest is the suite that all of them pass.
//
// Nothing here keeps a document or touches a disk.
package store
