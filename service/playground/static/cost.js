// What a request cost: figures, and the time as a bar with a legend.

import { byId, element } from "./dom.js";

const STAGES = {
  body: "receive the request",
  fetch: "fetch images",
  admission: "wait for capacity",
  decode: "decode and cut",
  encode_queue: "wait for the encoder",
  encode: "encode",
  transfer: "copy to the engine",
  engine_wait: "wait for the engine",
  engine_first_token: "first token",
  engine_answer: "rest of the answer",
  other: "other",
}; // in the order in which a request meets them

export function showCost({ cost, usage, ended }) {
  byId("facts").replaceChildren(...facts(cost, usage, ended).flatMap(([name, value]) => [
    element("div", {}, element("dt", {}, name), element("dd", {}, value)),
  ]));
  const known = Object.keys(STAGES).filter((stage) => stage in cost.stages_ms);
  const stages = [...known, ...Object.keys(cost.stages_ms).filter((stage) => !(stage in STAGES))];
  byId("bar").replaceChildren(...stages.map((stage) => segment(stage, cost.stages_ms[stage])));
  byId("bar").setAttribute("aria-label", `${milliseconds(cost.total_ms)} in total; the list below gives each stage`);
  byId("legend").replaceChildren(
    ...stages.map((stage) => entry(stage, STAGES[stage] ?? stage, cost.stages_ms[stage])),
    entry("total", "total", cost.total_ms),
  );
}

function facts(cost, usage, ended) {
  const pictures = cost.images.length;
  const cached = cost.images.filter((image) => image.cached).length;
  const told = [["Total", milliseconds(cost.total_ms)]];
  if (pictures) {
    told.push(["Image tokens", String(cost.images.reduce((sum, image) => sum + image.tokens, 0))]);
    told.push(["Image cache", cached === pictures ? "hit" : cached ? `${cached} of ${pictures} hit` : "miss"]);
  }
  if (usage) {
    told.push(["Prompt tokens", String(usage.prompt_tokens)]);
    told.push(["Answer tokens", String(usage.completion_tokens) + (ended === "length" ? " (cut off)" : "")]);
  }
  return told;
}

function segment(stage, ms) {
  const made = element("span", { class: `segment stage-${stage}` });
  made.style.setProperty("flex-grow", ms);
  return made;
}

function entry(stage, name, ms) {
  return element(
    "li",
    { class: `stage-${stage}`, "data-ms": ms },
    element("span", { class: "swatch", "aria-hidden": "true" }),
    element("span", { class: "stage-name" }, name),
    " ",
    element("span", { class: "ms" }, milliseconds(ms)),
  );
}

function milliseconds(ms) {
  if (ms < 0.05) return "< 0.1 ms";
  return ms >= 10000 ? `${(ms / 1000).toFixed(1)} s` : `${ms.toFixed(ms >= 100 ? 0 : 1)} ms`;
}
