// Package esnode is an event store that runs inside the program: a gRPC server that speaks the
// EventStoreDB/KurrentDB protocol over one SQLite file.
//
// The claim is: single node, Streams API; no persistent subscriptions, projections, ACLs. Appends,
// one by one and in batches, with every kind of expected revision; reads of a stream and of $all,
// both ways, filtered, with links resolved; metadata limits, soft delete, tombstones; subscriptions
// with filters, checkpoints and caught-up messages answer as an EventStoreDB 24.6 does: where the
// protocol leaves two answers, the node gives the one that is harder to bear, for what is tested on
// it is to bear a real store too. test/conformance holds each rule that both keep, the tests here
// what is ours. What a real store does only at times are [Moods]. Whatever is not claimed is
// UNIMPLEMENTED, and is not announced.
//
// From an EventStoreDB 24.6 it differs in this:
//
//   - it says that it is a 24.10, and announces only what it has;
//   - caught-up and checkpoint messages say when and where, as from 25.0 on, unless Config.Notices is 24;
//   - a checkpoint while a subscription catches up is exactly at its interval, not at the end of a page;
//   - a subscription from the log's end gets no checkpoint before caught-up;
//   - the position prepare of $all is not looked at, unless it is above commit;
//   - no position is invalid but one that can be none: prepare above commit, or 2^63 and more;
//   - prefixes are compared byte by byte, not by culture; in patterns that RE2 takes \w and \d are of
//     ASCII, and $ is not before a last newline; others are tried as .NET's, with a limit on their time;
//   - metadata that are written anew keep numbers as they were sent (1e0 and not 1.0);
//   - an event of the type $streamDeleted that a user appends is an event as any other;
//   - refusals of a batch overtake what is written with them, not what was written before;
//   - after the half-close of a batch one more answer comes, where a real store gives none or some;
//   - an append of a batch that asks for no deadline has 10 s;
//   - an append to a stream without a name, and a tombstone of metadata, are refused: the one ends the
//     process of a real store, the other keeps it from starting again;
//   - names of streams have at most 8 KiB;
//   - after a fault of the disk it writes again by itself;
//   - over HTTP/1.1 it answers GET /health/live, and says of all else that it has it not;
//   - when it closes it ends calls with UNAVAILABLE at once, unless a mood cuts them.
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
// $et- streams, no streams over HTTP. $all shows what was deleted or truncated.
//
// It may not be opened by two processes (a lock in its folder says so). It listens on a unix socket
// and, if asked, on an address: on loopback in the clear, on any other with TLS, a user and a
// password. It knows nothing of what the events mean.
package esnode
