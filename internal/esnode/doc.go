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
// It promises that what is damaged is told and never served: every record and every page has a
// checksum that is held against it when it is read. A loss of power loses nothing that was
// acknowledged, on a disk that keeps what it says it has synced. What it cannot tell is a bit that
// flips, after a kill, within the very last commit: that looks like a commit that was torn.
//
// A full disk refuses appends with RESOURCE_EXHAUSTED, another fault of the disk with UNAVAILABLE;
// reading goes on, and so does writing, by itself, when the fault is over.
//
// It may not be opened by two processes (a lock in its folder says so), listens on a unix socket
// and, if asked, on a loopback address, and knows nothing of what the events mean.
package esnode
