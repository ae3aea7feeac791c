// Package conformance says, rule by rule, how an event store answers that is to carry a log: each
// rule is one named test, driven by the official client and, where that cannot say it, by the
// protocol's own messages. It runs against the store that PRELUDE_TEST_EVENTSTORE names
// (esdb://[user:password@]host:port[?tls=false]), which may hold events already, and without it
// against a node of its own.
//
// Only what every store of this protocol promises stands here; what our node promises beyond that
// is tested in internal/esnode.
package conformance
