"""Checks an event store with the official client for Python.

    EVENTSTORE=host:port RUN=… [RESTART=http://…] check.py

RUN is in the name of every stream. RESTART restarts the store on the same address when it is asked
with POST, and answers when that is done. Each check prints a line; the first that fails ends it all.
"""

import os
import sys
import urllib.request
from uuid import uuid4

from kurrentdbclient import (
    CaughtUp,
    Checkpoint,
    KurrentDBClient,
    NewEvent,
    StreamState,
)
from kurrentdbclient.exceptions import (
    FailedPreconditionError,
    InvalidCommitPositionError,
    NotFoundError,
    StreamIsDeletedError,
    WrongCurrentVersionError,
)

URI = f"kurrentdb://{os.environ['EVENTSTORE']}?Tls=false"
PREFIX = f"python_{os.environ['RUN']}-"


def check(name, holds, saw=None):
    if not holds:
        sys.exit(f"failed {name}: saw {saw!r}")
    print(f"ok {name}", flush=True)


def event(text="{}", kind="Tested"):
    return NewEvent(type=kind, data=text.encode(), metadata=b'{"by":"python"}', id=uuid4())


def raised(name, error, call):
    try:
        saw = call()
    except error as e:
        check(name, True)
        return e
    except Exception as e:
        saw = e
    check(name, False, saw)


def appends(client, stream):
    first, rest = event('{"n":0}'), [event('{"n":1}'), event('{"n":2}', "Other")]
    one = client.append_event(stream, current_version=StreamState.NO_STREAM, event=first)
    many = client.append_events(stream, current_version=0, events=rest)
    check("append one, then a list", one < many, (one, many))
    again = client.append_events(stream, current_version=0, events=rest)
    check("a repeated list is the same append", again == many, (again, many))
    got = client.get_stream(stream)
    check("read a stream", [e.id for e in got] == [first.id, rest[0].id, rest[1].id], got)
    last = got[-1]
    check("an event is as it was sent",
          (last.type, last.data, last.metadata, last.stream_position, last.commit_position)
          == ("Other", b'{"n":2}', b'{"by":"python"}', 2, many) and last.recorded_at is not None, last)
    return got


def reads(client, stream, got):
    back = client.get_stream(stream, backwards=True, limit=2)
    check("read backwards", [e.stream_position for e in back] == [2, 1], back)
    late = client.get_stream(stream, stream_position=1)
    check("read from a revision", [e.stream_position for e in late] == [1, 2], late)
    ids, start = [e.id for e in got], got[0].commit_position
    everything = list(client.read_all(commit_position=start))
    check("read all, by the default filter",
          [e.id for e in everything if e.stream_name == stream] == ids
          and not any(e.type.startswith("$") for e in everything), everything)
    by_stream = {"filter_include": [stream], "filter_by_stream_name": True, "filter_by_prefix": True}
    mine = list(client.read_all(**by_stream))
    check("read all by stream prefix", [e.id for e in mine] == ids, mine)
    mine = list(client.read_all(filter_include=[f"{stream}.*"], filter_by_stream_name=True))
    check("read all by stream pattern", [e.id for e in mine] == ids, mine)
    other = list(client.read_all(commit_position=start, filter_include=["Oth.*"]))
    check("read all by type", [e.id for e in other if e.stream_name == stream] == ids[2:], other)
    mine = list(client.read_all(backwards=True, limit=2, **by_stream))
    check("read all filtered backwards", [e.id for e in mine] == [ids[2], ids[1]], mine)
    try:  # a store goes on from the next event, or refuses it
        within = [e.commit_position > start for e in client.read_all(commit_position=start + 1, limit=1)]
    except InvalidCommitPositionError:
        within = [True]
    check("a position within an event", within == [True], within)
    check("the log's end", client.get_commit_position() >= got[-1].commit_position)


def subscribes(client, stream, got):
    with client.subscribe_to_stream(stream, include_caught_up=True) as sub:
        seen = [next(sub) for _ in range(4)]
        check("subscribe to a stream",
              [e.id for e in seen[:3]] == [e.id for e in got] and isinstance(seen[3], CaughtUp), seen)
        live = event('{"n":3}')
        client.append_events(stream, current_version=2, events=[live])
        check("a live event of a stream", next(sub).id == live.id)
    with client.subscribe_to_all(
        commit_position=got[0].commit_position, filter_include=[stream], filter_by_stream_name=True,
        filter_by_prefix=True, include_checkpoints=True, include_caught_up=True,
        window_size=1, checkpoint_interval_multiplier=1,
    ) as sub:
        seen = []
        while not seen or not isinstance(seen[-1], CaughtUp):
            seen.append(next(sub))
        events = [e.stream_position for e in seen if not isinstance(e, (Checkpoint, CaughtUp))]
        check("subscribe to all, filtered", events == [1, 2, 3], seen)
        check("checkpoints come", any(isinstance(e, Checkpoint) for e in seen), seen)
        live = event('{"n":4}')
        client.append_events(stream, current_version=3, events=[live])
        while isinstance(e := next(sub), (Checkpoint, CaughtUp)):
            pass
        check("a live event of all", e.id == live.id, e)
    with client.subscribe_to_stream(stream + "later", include_caught_up=True) as sub:
        check("a stream that is not there yet", isinstance(next(sub), CaughtUp))
        client.append_events(stream + "later", current_version=StreamState.NO_STREAM, events=[event()])
        check("its first event", next(sub).stream_position == 0)


def refusals(client, stream):
    never, buried = stream + "never", stream + "buried"
    raised("a missing stream is not found", NotFoundError, lambda: client.get_stream(never))
    for name, append in {
        "one event": lambda s, v: client.append_event(s, current_version=v, event=event()),
        "a list": lambda s, v: client.append_events(s, current_version=v, events=[event(), event()]),
    }.items():
        raised(f"a wrong version, {name}", WrongCurrentVersionError, lambda a=append: a(stream, 1))
        raised(f"a version of nothing, {name}", WrongCurrentVersionError, lambda a=append: a(never, 7))
    client.append_event(buried, current_version=StreamState.ANY, event=event())
    raised("a wrong version of a delete", WrongCurrentVersionError,
           lambda: client.delete_stream(buried, current_version=5))
    client.delete_stream(buried, current_version=0)
    raised("a deleted stream is not found", NotFoundError, lambda: client.get_stream(buried))
    client.append_events(buried, current_version=StreamState.ANY, events=[event()])
    check("it goes on after that", [e.stream_position for e in client.get_stream(buried)] == [1])
    client.tombstone_stream(buried, current_version=StreamState.ANY)
    raised("a tombstone when reading", StreamIsDeletedError, lambda: client.get_stream(buried))
    # The client has no error of its own for this one.
    raised("a tombstone, one event", FailedPreconditionError,
           lambda: client.append_event(buried, current_version=StreamState.ANY, event=event()))
    raised("a tombstone, a list", StreamIsDeletedError,
           lambda: client.append_events(buried, current_version=StreamState.ANY, events=[event()]))
    client.set_stream_metadata(stream, metadata={"$maxCount": 1})
    check("metadata are written and read", client.get_stream_metadata(stream)[0] == {"$maxCount": 1})
    check("metadata are honoured", len(client.get_stream(stream)) == 1)


def restarts(client, stream):
    with client.subscribe_to_all(from_end=True, include_caught_up=True) as sub:
        next(sub)
        urllib.request.urlopen(urllib.request.Request(os.environ["RESTART"], method="POST")).read()
        try:
            while True:
                next(sub)
        except Exception as e:
            check("a subscription ends with an error when the store stops", not isinstance(e, StopIteration), e)
    client.append_events(stream, current_version=StreamState.ANY, events=[event()])
    client.append_event(stream, current_version=StreamState.ANY, event=event())
    check("append and read after a restart", len(client.get_stream(stream)) == 1)


def main():
    client, stream = KurrentDBClient(URI), PREFIX + "s"
    got = appends(client, stream)
    reads(client, stream, got)
    subscribes(client, stream, got)
    refusals(client, stream)
    if "RESTART" in os.environ:
        restarts(client, stream)
    client.close()


main()
