// Package eventstore is the guard around the official EventStoreDB client: the only package that
// imports it, and the program's only way to an event store, embedded or not.
//
// The client dies for good when its server is away for more than a second, keeps callers waiting
// past their context, leaks a connection with each reconnect and panics when it is closed under
// load. The guard owns one client at a time, with a generation, and replaces it. It promises that
//
//   - every call ends when its context does;
//   - an append whose outcome is not known is repeated, the same bytes with the same ids at the
//     same exact revision, until the context ends: it happens once or not at all;
//   - a read that was cut off goes on after the last event it gave;
//   - a subscription goes on after an outage, without gap or repeat.
//
// It does not promise that a call succeeds while the store is away, that an append which ended with
// eventlog.ErrUnavailable did not happen, or anything about a client used behind its back.
package eventstore
