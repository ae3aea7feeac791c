// Checks a Prelude server with OpenAI's own SDK for Node.
//
//     PRELUDE_URL=http://localhost:8080 PRELUDE_API_KEY=… check.mjs <preset> [<variable>=<value> …]
//
// The preset needs a version and the label production. Each check prints a line; the first that fails ends
// it all.

import process from "node:process";
import OpenAI from "openai";

const baseURL = process.env.PRELUDE_URL.replace(/\/+$/, "") + "/v1";
const [name, ...args] = process.argv.slice(2);
const model = `preset:${name}`;
const messages = [{ role: "user", content: "Does the official SDK for Node work? Ünïcödé 😀" }];
const variables = Object.fromEntries(args.map((arg) => {
  const [, variable, text] = arg.match(/^([^=]*)=?(.*)$/s);
  return [variable, value(text)];
}));
const body = args.length > 0 ? { preset: { variables } } : {};
const client = new OpenAI({ baseURL, apiKey: process.env.PRELUDE_API_KEY, maxRetries: 0 });

// value is a variable's value: JSON where it is, else the text itself.
function value(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

// check prints that a check holds, or ends the program with what was seen instead.
function check(name, holds, saw) {
  if (!holds) {
    console.error(`failed ${name}: saw ${saw instanceof Error ? saw : JSON.stringify(saw)}`);
    process.exit(1);
  }
  console.log(`ok ${name}`);
}

// refused checks that a completion is refused with an error class of the SDK and a code of Prelude.
async function refused(name, error, code, request, asking = client) {
  let e;
  try {
    await asking.chat.completions.create({ model, messages, ...request });
  } catch (caught) {
    e = caught;
  }
  check(name, e instanceof error && e.code === code && e.message.length > 10, e ?? "no error");
}

// headers checks what names the reply and the version that it came from.
function headers(name, response) {
  const reply = response.headers.get("Prelude-Reply") ?? "";
  const preset = response.headers.get("Prelude-Preset") ?? "";
  check(name, reply.startsWith("rpl_") && /^prs_\w+@v[1-9]\d*$/.test(preset), [reply, preset]);
}

async function models() {
  const listed = [];
  for await (const m of client.models.list()) listed.push(m.id);
  check("list models", listed.includes(model), listed);
  const one = await client.models.retrieve(model);
  check("retrieve a model", one.id === model && one.object === "model", one);
}

async function completes(model) {
  const asked = client.chat.completions.create({ model, messages, ...body });
  const { data: whole, response } = await asked.withResponse();
  headers(`headers of ${model}`, response);
  const [choice] = whole.choices;
  check(`complete ${model}`, choice.message.content && choice.finish_reason === "stop", whole);
  const counted = whole.usage?.completion_tokens > 0 && whole.system_fingerprint;
  check(`usage of ${model}`, counted, whole);
  return choice.message.content;
}

async function streams(model, whole) {
  const options = { stream: true, stream_options: { include_usage: true } };
  const asked = client.chat.completions.create({ model, messages, ...body, ...options });
  const { data: stream, response } = await asked.withResponse();
  headers(`headers of ${model}, streamed`, response);
  let [text, finish, usage] = ["", null, null];
  for await (const chunk of stream) {
    usage = chunk.usage ?? usage;
    for (const choice of chunk.choices) {
      text += choice.delta.content ?? "";
      finish = choice.finish_reason ?? finish;
    }
  }
  check(`stream ${model}`, text === whole && finish === "stop", [text, finish, whole]);
  check(`usage of ${model}, streamed`, usage?.completion_tokens > 0, usage);
}

async function refusals() {
  const unknown = { model: "preset:there-is-no-such-preset" };
  await refused("unknown preset", OpenAI.NotFoundError, "model_not_found", unknown);
  const other = new OpenAI({ baseURL, apiKey: "wrong", maxRetries: 0 });
  await refused("wrong key", OpenAI.AuthenticationError, "unauthenticated", {}, other);
  const twice = { n: 2, ...body };
  await refused("n=2", OpenAI.UnprocessableEntityError, "unsupported_parameter", twice);
}

await models();
for (const selector of ["", "@v1", "@production"]) {
  await streams(model + selector, await completes(model + selector));
}
await refusals();
