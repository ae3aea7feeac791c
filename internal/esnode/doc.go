// Package esnode is an event store that runs inside the program: a gRPC server that speaks the
// EventStoreDB/KurrentDB protocol over one SQLite file.
//
// The claim is: single node, Streams API; no persistent subscriptions, projections, ACLs. Appends
// with every kind of expected revision, reads both ways, metadata limits, soft delete, tombstones,
// $all and stream subscriptions with filters, checkpoints and caught-up messages answer as a
// KurrentDB does. Whatever is not claimed is UNIMPLEMENTED, and is not announced.
//
// It promises that nothing is acknowledged that is not durable, and that nothing is visible before
// it is: an append is answered, and shown to readers, after the file was synced. One goroutine
// writes; it gathers what waits into one transaction. A record is kept as the message that readers
// get, with a checksum, so catching up copies bytes.
//
// It may not be opened by two processes (a lock in its folder says so), listens on a unix socket
// and, if asked, on a loopback address, and knows nothing of what the events mean.
package esnode
