// Package eventstore is the guard around the official EventStoreDB client: the only package of the
// program that uses it, of which the embedded node knows the messages alone, and the program's only way
// to an event store, embedded or not.
//
// Of the client it takes the connection string, the messages and the calls. It leaves out the
// client's own management of connections, which dies for good when the server is away for more than
// a second, keeps callers waiting past their context and leaks a connection with each reconnect,
// and its decoding of events, which can end the process. The guard owns one connection at a time,
// with a generation, and replaces it at the first sign of trouble. It promises that
//
//   - every call ends when its context does;
//   - an append whose outcome is not known is repeated, the same bytes with the same ids at the
//     same exact revision, until the context ends: it happens once or not at all;
//   - a read that was cut off goes on after the last event it gave;
//   - a subscription goes on after an outage, without gap or repeat.
//
// An append is repeated after 3 s without an answer, and a second more for each MiB that is under way:
// over a slower way, appends of many MiB do not get through. One that is late while others are answered
// is repeated alone. Where nobody has been answered for as long, however soon each of them gave up, the
// connection is asked whether it is there, and replaced if it does not say so.
//
// All appends share one call (BatchAppend, which stores have had since 21.10), so that one costs a
// message each way.
//
// It does not promise that a call succeeds while the store is away, or that an append which ended
// with eventlog.ErrUnavailable did not happen.
package eventstore
