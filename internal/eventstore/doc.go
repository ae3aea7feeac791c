// Package eventstore is the guard around the official EventStoreDB client: the only package of the
// program that uses it, of which the embedded node knows the messages alone, and the program's only way
// to an event store, embedded or not.
//
// Of the client it takes the messages and the calls. It leaves out the client's own management of
// connections, which dies for good when the server is away for more than a second, keeps callers
// waiting past their context and leaks a connection with each reconnect; its decoding of events, which
// can end the process; and its reading of connection strings, whose errors quote them. The guard leads
// to one node at a time, over a link, and leaves it at the first sign that it is not the one to use
// (the states are drawn in link.go). It promises that
//
//   - every call ends when its context does;
//   - an append whose outcome is not known is repeated, the same bytes with the same ids at the
//     same exact revision, until the context ends: it happens once or not at all;
//   - an append that is refused for its revision ends when what was first can be read;
//   - a read that was cut off goes on after the last event it gave, and one whose stream was cut
//     off ends with eventlog.ErrChanged;
//   - a subscription goes on after an outage, without gap or repeat, and not with another log;
//   - positions that a store sends are taken for what they are (positionOf), whatever they are.
//
// Refused credentials and rights are waited for like an outage: somebody may be about to mend them.
// Why a store cannot be used, and what is to be done, is told by a [Reason]; an outage is logged when it
// begins, as an error when it hurts somebody or lasts, and when it is over.
//
// An append is repeated after 3 s without an answer, and a second more for each MiB that is under way:
// over a slower way, appends of many MiB do not get through. One that is late while others are answered
// is repeated alone. Where nobody has been answered for as long, however soon each of them gave up, the
// connection is asked whether it is there, and replaced if it does not say so.
//
// All appends share one call (BatchAppend, which stores have had since 21.10), so that one costs a
// message each way. Calls that stay, which subscriptions are, have connections of their own: a store
// takes a hundred calls on each.
//
// It does not promise that a call succeeds while the store is away, or that an append which ended
// with eventlog.ErrUnavailable did not happen.
package eventstore
