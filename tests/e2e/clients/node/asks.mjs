// The clients of Node, asked as those in Python are: `node asks.mjs NAME URL` prints one line of JSON, the client's
// version and what it did. Exit status 1, and the reason on standard error, where something failed.
import { readFileSync } from "node:fs";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, Output, stepCountIs, streamText, tool } from "ai";
import OpenAI, { BadRequestError } from "openai";
import { z } from "zod";

const MODEL = "patchbay-demo";
const ROOT = new URL(process.env.PATCHBAY_ROOT);
const JPEG = readFileSync(new URL("demo/scenes/shapes.jpg", ROOT));
const DATA_URL = `data:image/jpeg;base64,${JPEG.toString("base64")}`;
const BROKEN = "data:image/png;base64,AAAA";
const [QUESTION, FOLLOWING] = ["What colour is the star?", "Is there a blue circle?"];
const PAINTED = "Painted.";
const [TOKENS, LONG] = [128, 2000];
const SCHEMA = {
  type: "object",
  properties: { colour: { type: "string", enum: ["red", "blue"] } },
  required: ["colour"],
  additionalProperties: false,
};

const done = [];
function did(thing, answer, ...expected) {
  const said = String(answer).trim().replace(/\.$/, "").toLowerCase();
  if (expected.length && !expected.includes(said)) throw new Error(`${thing}: ${answer}, not ${expected}`);
  done.push(thing);
}

function painted(colour, answer) {
  if (!String(answer).trim()) throw new Error("tool: no word behind its result");
  did("tool", colour, "red", "blue");
}

async function refused(ask, holds) {
  let caught = null;
  await ask().catch((error) => (caught = error));
  if (!caught || !holds(caught)) throw new Error(`error: ${caught}`);
  did("error");
}

async function openaiChat(url) {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
  const image = (at) => [
    { role: "user", content: [{ type: "image_url", image_url: { url: at } }, { type: "text", text: QUESTION }] },
  ];
  const ask = { model: MODEL, messages: image(DATA_URL), temperature: 0, max_tokens: TOKENS };
  const create = (more = {}, options = {}) => client.chat.completions.create({ ...ask, ...more }, options);
  const first = (await create()).choices[0].message;
  did("image", first.content, "red");
  const streamed = await client.chat.completions.stream(ask).finalMessage();
  did("stream", streamed.content, "red");
  const following = { role: "user", content: FOLLOWING };
  for (const sentBack of [first, streamed]) {
    const answer = await create({ messages: [...ask.messages, sentBack, following] });
    if (sentBack === streamed) did("turns", answer.choices[0].message.content, "yes");
  }
  const paint = { type: "function", function: { name: "paint", parameters: SCHEMA, strict: true } };
  const chosen = { type: "function", function: { name: "paint" } };
  const called = (await create({ tools: [paint], tool_choice: chosen })).choices[0].message;
  const [call] = called.tool_calls;
  const result = { role: "tool", tool_call_id: call.id, content: PAINTED };
  const told = await create({ messages: [...ask.messages, called, result], tools: [paint] });
  painted(JSON.parse(call.function.arguments).colour, told.choices[0].message.content);
  const format = { type: "json_schema", json_schema: { name: "colour", schema: SCHEMA, strict: true } };
  const parsed = await client.chat.completions.parse({ ...ask, response_format: format });
  did("structured", parsed.choices[0].message.parsed.colour, "red", "blue");
  await create({ messages: [...ask.messages, parsed.choices[0].message, following] });
  await refused(
    () => create({ messages: image(BROKEN) }),
    (error) => error instanceof BadRequestError && error.param === "messages[0].content[0].image_url.url",
  );
  const stop = new AbortController();
  const events = await create({ stream: true, max_tokens: LONG, ignore_eos: true }, { signal: stop.signal });
  for await (const _ of events) stop.abort();
  did("abort", (await create()).choices[0].message.content, "red");
}

async function openaiResponses(url) {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
  const image = (at) => [
    { role: "user", content: [{ type: "input_image", image_url: at }, { type: "input_text", text: QUESTION }] },
  ];
  const ask = { model: MODEL, input: image(DATA_URL), temperature: 0 };
  const first = await client.responses.create(ask);
  did("image", first.output_text, "red");
  const streamed = await client.responses.stream(ask).finalResponse();
  did("stream", streamed.output_text, "red");
  const following = { role: "user", content: FOLLOWING };
  const second = await client.responses.create({ ...ask, input: [...ask.input, ...streamed.output, following] });
  did("turns", second.output_text, "yes");
  const paint = { type: "function", name: "paint", parameters: SCHEMA, strict: true };
  const forced = { tools: [paint], tool_choice: { type: "function", name: "paint" }, max_output_tokens: TOKENS };
  const { output } = await client.responses.create({ ...ask, ...forced });
  const call = output.find((item) => item.type === "function_call");
  const result = { type: "function_call_output", call_id: call.call_id, output: PAINTED };
  const told = await client.responses.create({ ...ask, tools: [paint], input: [...ask.input, ...output, result] });
  painted(JSON.parse(call.arguments).colour, told.output_text);
  const text = { format: { type: "json_schema", name: "colour", schema: SCHEMA, strict: true } };
  const shaped = await client.responses.create({ ...ask, text });
  did("structured", JSON.parse(shaped.output_text).colour, "red", "blue");
  await refused(
    () => client.responses.create({ ...ask, input: image(BROKEN) }),
    (error) => error instanceof BadRequestError && error.param === "input[0].content[0].image_url",
  );
  const stop = new AbortController();
  const endless = { ...ask, stream: true, max_output_tokens: LONG, ignore_eos: true };
  for await (const _ of await client.responses.create(endless, { signal: stop.signal })) stop.abort();
  did("abort", (await client.responses.create(ask)).output_text, "red");
}

async function sdk(model, options = {}) {
  const about = (data) => [
    {
      role: "user",
      content: [{ type: "file", data, mediaType: "image/jpeg" }, { type: "text", text: QUESTION }],
    },
  ];
  const ask = { model, messages: about(JPEG), temperature: 0, maxOutputTokens: TOKENS, maxRetries: 0 };
  const first = await generateText(ask);
  did("image", first.text, "red");
  did("stream", await streamText(ask).text, "red");
  const messages = [...ask.messages, ...first.response.messages, { role: "user", content: FOLLOWING }];
  did("turns", (await generateText({ ...ask, messages, providerOptions: options })).text, "yes");
  let colour;
  const paint = tool({
    description: "Paints the wall.",
    inputSchema: z.object({ colour: z.enum(["red", "blue"]) }),
    execute: (called) => ((colour = called.colour), PAINTED),
  });
  const toolChoice = { type: "tool", toolName: "paint" };
  const { text } = await generateText({
    ...ask,
    tools: { paint },
    providerOptions: options,
    stopWhen: stepCountIs(2),
    prepareStep: ({ stepNumber }) => (stepNumber ? {} : { toolChoice }),
  });
  painted(colour, text);
  const schema = z.object({ colour: z.enum(["red", "blue"]) });
  did("structured", (await generateObject({ ...ask, schema })).object.colour, "red", "blue");
  await refused(
    () => generateText({ ...ask, messages: about(new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10])) }),
    (error) => error.statusCode === 400,
  );
  const stop = new AbortController();
  const many = z.object({ colours: z.array(z.enum(["red"])).min(400) });
  const output = Output.object({ schema: many });
  const left = streamText({ ...ask, maxOutputTokens: LONG, output, abortSignal: stop.signal });
  for await (const _ of left.textStream) stop.abort();
  did("abort", (await generateText(ask)).text, "red");
}

// without `store: false` a second turn names the first answer instead of sending it
const stateless = { openai: { store: false } };
const aiDefault = (url) => sdk(createOpenAI({ baseURL: `${url}/v1`, apiKey: "none" })(MODEL), stateless);
const compatible = { name: "patchbay", supportsStructuredOutputs: true, apiKey: "none" };
const aiCompatible = (url) => sdk(createOpenAICompatible({ baseURL: `${url}/v1`, ...compatible })(MODEL));

const ASKS = {
  openai_chat: ["openai", openaiChat],
  openai_responses: ["openai", openaiResponses],
  ai_default: ["@ai-sdk/openai", aiDefault],
  ai_compatible: ["@ai-sdk/openai-compatible", aiCompatible],
};
const [name, url] = process.argv.slice(2);
const [packageName, run] = ASKS[name];
const manifest = new URL(`node_modules/${packageName}/package.json`, import.meta.url);
try {
  await run(url);
} finally {
  console.log(JSON.stringify({ version: JSON.parse(readFileSync(manifest)).version, done }));
}
