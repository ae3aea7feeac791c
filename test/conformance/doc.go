// Package conformance says, rule by rule, how an event store answers that is to carry a log: each
// rule is one named test, driven by the official client and, where that cannot say it, by the
// protocol's own messages. It runs against the store that PRELUDE_TEST_EVENTSTORE names
// (esdb://[user:password@]host:port[?tls=false]), which may hold events already, and without it
// against nodes of its own, in each form in which ours can answer.
//
// Only what every store of this protocol promises stands here, an EventStoreDB 24.6 and a KurrentDB as
// well as our node: where they differ, a rule takes either answer. What our node promises beyond that
// is tested in internal/esnode.
package conformance
