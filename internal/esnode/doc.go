// Package esnode is an event store that runs inside the program: a gRPC server that speaks the
// EventStoreDB/KurrentDB protocol over one SQLite file.
//
// The claim is: single node, Streams API; no persistent subscriptions, projections, ACLs. Appends,
// one by one and in batches, with every kind of expected revision; reads of a stream and of $all,
// both ways, filtered, with links resolved; metadata limits, soft delete, tombstones; subscriptions
// with filters, checkpoints and caught-up messages answer as a KurrentDB does. test/conformance
// holds each rule. Whatever is not claimed is UNIMPLEMENTED, and is not announced.
//
// It promises that nothing is acknowledged that is not durable, and that nothing is visible before
// it is: an append is answered, and shown to readers, after the file was synced. One goroutine
// writes; it gathers what waits into one transaction. A record is kept as the message that readers
// get, with a checksum, so catching up copies bytes. When the node closes, what was handed in is
// stored and answered, and calls that last end with UNAVAILABLE.
//
// It promises that what is damaged is told and never served: every record and every page has a
// checksum that is held against it when it is read; who follows the log's end gets what was written
// last from memory. A loss of power loses nothing that was acknowledged, on a disk that keeps what it
// says it has synced. What it cannot tell is a bit that flips, after a kill, within the very last
// commit: that looks like a commit that was torn.
//
// A full disk refuses appends with RESOURCE_EXHAUSTED, another fault of the disk with UNAVAILABLE;
// reading goes on, and so does writing, by itself, when the fault is over.
//
// It does not promise what needs more than one node, or a server's administration: no replicas, no
// access lists (who may connect may do everything), no scavenge, no projections such as $ce- or
// $et- streams, and none of HTTP. $all shows what was deleted or truncated. Prefixes are compared
// byte by byte; patterns that RE2 refuses are tried as .NET's, with a limit on their time.
//
// It may not be opened by two processes (a lock in its folder says so). It listens on a unix socket
// and, if asked, on an address: on loopback in the clear, on any other with TLS, a user and a
// password. It knows nothing of what the events mean.
package esnode
