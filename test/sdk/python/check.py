"""Checks a Prelude server with OpenAI's own SDK for Python.

    PRELUDE_URL=http://localhost:8080 PRELUDE_API_KEY=… check.py <preset> [<variable>=<value> …]

The preset needs a version and the label production. Each check prints a line; the first that fails ends it all.
"""

import json
import os
import re
import sys

import openai

BASE = os.environ["PRELUDE_URL"].rstrip("/") + "/v1"
MODEL = "preset:" + sys.argv[1]
MESSAGES = [{"role": "user", "content": "Does the official SDK for Python work? Ünïcödé 😀"}]


def value(text):
    """A variable's value: JSON where it is, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


VARIABLES = {name: value(v) for name, _, v in (arg.partition("=") for arg in sys.argv[2:])}
BODY = {"preset": {"variables": VARIABLES}} if VARIABLES else None

client = openai.OpenAI(base_url=BASE, api_key=os.environ["PRELUDE_API_KEY"], max_retries=0)


def check(name, holds, saw=None):
    """Prints that a check holds, or ends the program with what was seen instead."""
    if not holds:
        sys.exit(f"failed {name}: saw {saw!r}")
    print("ok", name, flush=True)


def refused(name, error, code, **request):
    """Checks that a completion is refused with an error class of the SDK and a code of Prelude."""
    asking = request.pop("asking", client)
    try:
        asking.chat.completions.create(**{"model": MODEL, "messages": MESSAGES, **request})
    except error as e:
        check(name, e.code == code and len(e.message) > 10, (e.status_code, e.code, e.message))
    except openai.OpenAIError as e:
        check(name, False, e)
    else:
        check(name, False, "no error")


def headers(name, raw):
    """Checks what names the reply and the version that it came from."""
    reply, preset = raw.headers.get("Prelude-Reply", ""), raw.headers.get("Prelude-Preset", "")
    holds = reply.startswith("rpl_") and re.fullmatch(r"prs_\w+@v[1-9]\d*", preset)
    check(name, holds, (reply, preset))


def models():
    listed = [m.id for m in client.models.list()]
    check("list models", MODEL in listed, listed)
    model = client.models.retrieve(MODEL)
    check("retrieve a model", (model.id, model.object) == (MODEL, "model"), model)


def completes(model):
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=MESSAGES, extra_body=BODY
    )
    headers(f"headers of {model}", raw)
    whole = raw.parse()
    choice = whole.choices[0]
    check(f"complete {model}", choice.message.content and choice.finish_reason == "stop", whole)
    check(f"usage of {model}", whole.usage.completion_tokens > 0 and whole.system_fingerprint, whole)
    return choice.message.content


def streams(model, whole):
    raw = client.chat.completions.with_raw_response.create(
        model=model,
        messages=MESSAGES,
        extra_body=BODY,
        stream=True,
        stream_options={"include_usage": True},
    )
    headers(f"headers of {model}, streamed", raw)
    text, finish, usage = "", None, None
    for chunk in raw.parse():
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
    check(f"stream {model}", (text, finish) == (whole, "stop"), (text, finish, whole))
    check(f"usage of {model}, streamed", usage and usage.completion_tokens > 0, usage)


def refusals():
    unknown = {"model": "preset:there-is-no-such-preset"}
    refused("unknown preset", openai.NotFoundError, "model_not_found", **unknown)
    other = openai.OpenAI(base_url=BASE, api_key="wrong", max_retries=0)
    refused("wrong key", openai.AuthenticationError, "unauthenticated", asking=other)
    refused("n=2", openai.UnprocessableEntityError, "unsupported_parameter", n=2, extra_body=BODY)


models()
for selector in ("", "@v1", "@production"):
    streams(MODEL + selector, completes(MODEL + selector))
refusals()
