// Sends requests to the API and reads its answers. Independent of the page.

const ROUTE = "v1/chat/completions";

/** Why a request failed, according to the server or the network. */
export class Refused extends Error {
  constructor(status, { message, code = null, param = null }) {
    super(message);
    this.status = status;
    this.code = code;
    this.param = param;
  }
}

/** `wishes`: { detail, system, temperature, length }; no system message without a `system` text. */
export function requestBody(urls, question, { detail, system, temperature, length }) {
  const pictures = urls.map((url) => ({ type: "image_url", image_url: { url, detail } }));
  return {
    messages: [
      ...(system ? [{ role: "system", content: system }] : []),
      { role: "user", content: [...pictures, { type: "text", text: question }] },
    ],
    max_tokens: length,
    temperature,
    stream: true,
    stream_options: { include_usage: true },
  };
}

export function keyHeader(key) {
  return key ? { authorization: `Bearer ${key}` } : {};
}

/** Sends `body` and calls `onText` with each piece of the answer; resolves to its usage, its cost and why it ended. */
export async function ask(body, { key, signal, onText }) {
  const headers = { "content-type": "application/json", "x-patchbay-details": "1", ...keyHeader(key) };
  const response = await reach(ROUTE, { method: "POST", headers, body: JSON.stringify(body), signal });
  if (!response.ok) throw await refusal(response);
  const told = { usage: null, cost: null, ended: "" };
  for await (const event of events(response.body)) {
    if (event.error) throw new Refused(0, event.error);
    if (event.usage) told.usage = event.usage;
    if (event.patchbay) told.cost = event.patchbay;
    for (const choice of event.choices ?? []) {
      if (choice.delta?.content) onText(choice.delta.content);
      if (choice.finish_reason) told.ended = choice.finish_reason;
    }
  }
  return told;
}

/** The first model's name. */
export async function modelName(key) {
  const response = await reach("v1/models", { headers: keyHeader(key) });
  if (!response.ok) throw await refusal(response);
  return (await response.json()).data[0]?.id ?? "";
}

/** Why the service cannot answer yet, in words; empty when it can. */
export async function reasons() {
  const response = await reach("readyz", { cache: "no-store" });
  const told = Object.entries((await response.json()).reasons ?? {});
  return told.map(([part, why]) => `${part}: ${why}`).join(", ");
}

async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, { message: "The server did not answer. It may be down, or the request may be too large for it.", code: "no_answer" });
  }
}

async function refusal(response) {
  const fallback = { message: `The server answered ${response.status} ${response.statusText}.` };
  const body = await response.json().catch(() => ({}));
  return new Refused(response.status, body.error ?? fallback);
}

/** The JSON of each server-sent event until `[DONE]`. */
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const frames = (rest + value).split("\n\n");
      rest = frames.pop();
      for (const frame of frames) {
        if (frame === "data: [DONE]") return;
        if (frame.startsWith("data: ")) yield JSON.parse(frame.slice(6));
      }
    }
  } catch (error) {
    if (error.name === "TypeError") throw new Refused(0, { message: "The connection was lost before the answer was complete.", code: "no_answer" });
    throw error;
  } finally {
    reader.cancel().catch(() => {});
  }
  throw new Refused(0, { message: "The connection was lost before the answer was complete.", code: "no_answer" });
}
