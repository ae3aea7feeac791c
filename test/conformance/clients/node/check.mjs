// Checks an event store with the official client for Node.
//
//     EVENTSTORE=host:port RUN=… [RESTART=http://…] check.mjs
//
// RUN is in the name of every stream. RESTART restarts the store on the same address when it is asked
// with POST, and answers when that is done. Each check prints a line; the first that fails ends it all.

import process from "node:process";
import { randomUUID } from "node:crypto";
import {
  ANY, BACKWARDS, END, KurrentDBClient, NO_STREAM, START, StreamDeletedError, StreamNotFoundError,
  WrongExpectedVersionError, eventTypeFilter, excludeSystemEvents, jsonEvent, streamNameFilter,
} from "@kurrent/kurrentdb-client";

const client = KurrentDBClient.connectionString(`kurrentdb://${process.env.EVENTSTORE}?tls=false`);
const stream = `node_${process.env.RUN}-s`;

// check prints that a check holds, or ends the program with what was seen instead.
function check(name, holds, saw) {
  if (!holds) {
    const text = saw instanceof Error ? saw.stack : JSON.stringify(saw, (_, v) => typeof v === "bigint" ? `${v}` : v);
    console.error(`failed ${name}: saw ${text}`);
    process.exit(1);
  }
  console.log(`ok ${name}`);
}

function event(n, type = "Tested") {
  return jsonEvent({ id: randomUUID(), type, data: { n }, metadata: { by: "node" } });
}

async function all(iterator) {
  const got = [];
  for await (const resolved of iterator) got.push(resolved.event);
  return got;
}

const ids = (events) => JSON.stringify(events.map((e) => e.id));
const numbers = (events) => events.map((e) => Number(e.revision)).join(" ");

async function rejected(name, error, call) {
  let saw;
  try {
    saw = await call();
  } catch (e) {
    saw = e;
  }
  check(name, saw instanceof error, saw);
  return saw;
}

// The client appends a call at a time where it is given credentials, else over one batch.
const single = { credentials: { username: "admin", password: "changeit" } };

async function appends() {
  const [first, ...rest] = [event(0), event(1), event(2, "Other")];
  const one = await client.appendToStream(stream, [first], { ...single, streamState: NO_STREAM });
  const many = await client.appendToStream(stream, rest, { streamState: 0n });
  check("append one, then a list", one.nextExpectedRevision === 0n && many.nextExpectedRevision === 2n &&
    many.position.commit > one.position.commit, [one, many]);
  const again = await client.appendToStream(stream, rest, { streamState: 0n });
  check("a repeated list is the same append", again.position.commit === many.position.commit, again);
  const got = await all(client.readStream(stream));
  check("read a stream", ids(got) === ids([first, ...rest]), got);
  const last = got[2];
  check("an event is as it was sent", last.type === "Other" && last.data.n === 2 && last.metadata.by === "node" &&
    last.revision === 2n && last.isJson && last.position.commit === many.position.commit, last);
  return got;
}

async function reads(got) {
  const back = await all(client.readStream(stream, { direction: BACKWARDS, fromRevision: END, maxCount: 2 }));
  check("read backwards", numbers(back) === "2 1", back);
  check("read from a revision", numbers(await all(client.readStream(stream, { fromRevision: 1n }))) === "1 2");
  const everything = await all(client.readAll({ fromPosition: got[0].position }));
  check("read all", ids(everything.filter((e) => e.streamId === stream)) === ids(got), everything);
  const filtered = async (name, filter, want, options = {}) => {
    const mine = await all(client.readAll({ filter, ...options }));
    check(name, ids(mine.filter((e) => e.streamId === stream)) === ids(want), mine);
    return mine;
  };
  const mine = await filtered("read all by stream prefix", streamNameFilter({ prefixes: [stream] }), got);
  check("and nothing else comes", mine.length === got.length, mine);
  await filtered("read all by stream pattern", streamNameFilter({ regex: `^${stream}$` }), got);
  await filtered("read all by type prefix", eventTypeFilter({ prefixes: ["Oth"] }), got.slice(2));
  await filtered("read all by type pattern", eventTypeFilter({ regex: "^Tes" }), got.slice(0, 2));
  await filtered("read all filtered backwards", streamNameFilter({ prefixes: [stream] }), [got[2], got[1]],
    { direction: BACKWARDS, fromPosition: END, maxCount: 2 });
}

async function subscribes(got) {
  const one = client.subscribeToStream(stream, { fromRevision: START });
  const events = [];
  one.on("data", ({ event }) => events.push(event));
  await new Promise((resolve) => one.once("caughtUp", resolve));
  check("subscribe to a stream", ids(events) === ids(got), events);
  const live = event(3);
  const came = new Promise((resolve) => one.on("data", ({ event }) => event.id === live.id && resolve()));
  await client.appendToStream(stream, [live], { streamState: 2n });
  await came;
  check("a live event of a stream", events.at(-1).id === live.id);
  await one.unsubscribe();

  const positions = [];
  const filter = streamNameFilter({
    prefixes: [stream], maxSearchWindow: 1, checkpointInterval: 1,
    checkpointReached: (_, position) => { positions.push(position); },
  });
  const rest = client.subscribeToAll({ fromPosition: got[0].position, filter });
  const later = [];
  rest.on("data", ({ event }) => later.push(event));
  await new Promise((resolve) => rest.once("caughtUp", resolve));
  check("subscribe to all, filtered", numbers(later) === "1 2 3", later);
  check("checkpoints come", positions.length > 0, positions);
  const next = event(4);
  const too = new Promise((resolve) => rest.on("data", ({ event }) => event.id === next.id && resolve()));
  await client.appendToStream(stream, [next], { streamState: 3n });
  await too;
  check("a live event of all", later.at(-1).id === next.id);
  await rest.unsubscribe();

  const empty = client.subscribeToStream(`${stream}later`, { fromRevision: START });
  await new Promise((resolve) => empty.once("caughtUp", resolve));
  check("a stream that is not there yet", true);
  const born = new Promise((resolve) => empty.once("data", ({ event }) => resolve(event)));
  await client.appendToStream(`${stream}later`, [event(0)], { streamState: NO_STREAM });
  check("its first event", (await born).revision === 0n);
  await empty.unsubscribe();

  const plain = client.subscribeToAll({ fromPosition: got[0].position, filter: excludeSystemEvents() });
  await new Promise((resolve) => plain.once("data", resolve));
  check("subscribe to all without system events", true);
  await plain.unsubscribe();
}

async function refusals() {
  const never = `${stream}never`, buried = `${stream}buried`;
  await rejected("a missing stream is not found", StreamNotFoundError, () => all(client.readStream(never)));
  for (const [name, options] of Object.entries({ "one call": single, "the batch": {} })) {
    const wrong = await rejected(`a wrong version, ${name}`, WrongExpectedVersionError,
      () => client.appendToStream(stream, [event(9)], { ...options, streamState: 1n }));
    check(`its numbers, ${name}`, wrong.actualState === 4n && wrong.expectedState === 1n, wrong);
    const none = await rejected(`a version of nothing, ${name}`, WrongExpectedVersionError,
      () => client.appendToStream(never, [event(9)], { ...options, streamState: 7n }));
    check(`its state, ${name}`, none.actualState === NO_STREAM, none);
  }
  await client.appendToStream(buried, [event(0)], { streamState: ANY });
  await rejected("a wrong version of a delete", WrongExpectedVersionError,
    () => client.deleteStream(buried, { expectedRevision: 5n }));
  await client.deleteStream(buried, { expectedRevision: 0n });
  await rejected("a deleted stream is not found", StreamNotFoundError, () => all(client.readStream(buried)));
  await client.appendToStream(buried, [event(1)], { streamState: ANY });
  check("it goes on after that", numbers(await all(client.readStream(buried))) === "1");
  await client.tombstoneStream(buried, { expectedRevision: ANY });
  await rejected("a tombstone when reading", StreamDeletedError, () => all(client.readStream(buried)));
  for (const [name, options] of Object.entries({ "one call": single, "the batch": {} })) {
    await rejected(`a tombstone, ${name}`, StreamDeletedError,
      () => client.appendToStream(buried, [event(2)], { ...options, streamState: ANY }));
  }
  await client.setStreamMetadata(stream, { maxCount: 1 });
  const { metadata } = await client.getStreamMetadata(stream);
  check("metadata are written and read", metadata.maxCount === 1, metadata);
  check("metadata are honoured", numbers(await all(client.readStream(stream))) === "4");
}

// Many small reads, several at a time: a store that ends a call before its client has ended its half
// makes some of them fail.
async function many() {
  const reads = 4000, width = 16;
  let failed = 0;
  await Promise.all(Array.from({ length: width }, async () => {
    for (let i = 0; i < reads / width; i++) {
      try {
        await all(client.readStream(stream, { maxCount: 1 }));
      } catch {
        failed++;
      }
    }
  }));
  check(`${reads} small reads`, failed === 0, failed);
}

async function restarts() {
  const subscription = client.subscribeToAll({ fromPosition: END });
  const ended = new Promise((resolve) => subscription.on("error", resolve));
  await new Promise((resolve) => subscription.once("caughtUp", resolve));
  await fetch(process.env.RESTART, { method: "POST" });
  check("a subscription ends with an error when the store stops", (await ended) instanceof Error);
  const retried = async (call) => { // the first call may find the old connection broken
    for (let left = 20; ; left--) {
      try {
        return await call();
      } catch (e) {
        if (left === 0) throw e;
      }
    }
  };
  const last = event(5);
  await retried(() => client.appendToStream(stream, [last], { streamState: ANY }));
  await client.appendToStream(stream, [event(6)], { ...single, streamState: ANY });
  const got = await retried(() => all(client.readStream(stream)));
  check("append and read after a restart", numbers(got) === "6", got);
}

const got = await appends();
await reads(got);
await subscribes(got);
await refusals();
await many();
if (process.env.RESTART) await restarts();
await client.dispose();
process.exit(0);
