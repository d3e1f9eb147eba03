// The fixed parts of the page. Draws what it is given and decides nothing.

import { placeholder, curl } from "./curl.js";
import { requestBody } from "./chat.js";
import { byId, element } from "./dom.js";
import { figure, MOST } from "./pictures.js";

export function showPictures(pictures, onRemove) {
  const count = pictures.length;
  byId("empty").hidden = count > 0;
  byId("add-row").hidden = count === 0 || count >= MOST;
  byId("tiles-row").hidden = !pictures.some((picture) => picture.cost);
  byId("figures").replaceChildren(...pictures.map((picture) => figure(picture, () => onRemove(picture))));
  byId("figures").classList.toggle("many", count > 1);
  for (const button of byId("scenes").children) {
    const shown = pictures.some(({ scene }) => scene === button.dataset.file);
    button.setAttribute("aria-pressed", String(shown));
  }
}

export function showScenes({ scenes, note }, onTake) {
  byId("scenes-row").hidden = scenes.length === 0;
  byId("note").hidden = !note;
  byId("note").textContent = note;
  byId("scenes").replaceChildren(...scenes.map((scene) => {
    const small = element("img", { src: `playground/scenes/${scene.file}`, alt: "", draggable: "false" });
    const attributes = { type: "button", class: "scene", "data-file": scene.file };
    const button = element("button", attributes, small, element("span", {}, scene.name));
    button.addEventListener("click", () => onTake(scene));
    return button;
  }));
}

export function showQuestions(questions, onAsk) {
  byId("suggestions").replaceChildren(...questions.map((question) => {
    const chip = element("button", { type: "button", class: "chip" }, question);
    chip.addEventListener("click", () => onAsk(question));
    return chip;
  }));
}

/** `why`: what keeps the service from answering; empty when nothing does. */
export function showReadiness(why) {
  byId("state").textContent = why || "ready";
  byId("state").classList.toggle("ready", !why);
}

export function showRunning(running, ready) {
  const hadFocus = document.activeElement === byId("cancel");
  byId("cancel").hidden = !running;
  byId("ask").setAttribute("aria-disabled", String(running || !ready));
  byId("answer").setAttribute("aria-busy", String(running));
  byId("answer").classList.toggle("running", running);
  if (running) byId("waiting").hidden = true;
  if (hadFocus && !running) byId("ask").focus();
}

export function showText(text) {
  byId("answer").append(text);
  byId("copy-answer").hidden = false;
}

export function showNoAnswer() {
  byId("answer").replaceChildren();
  for (const id of ["error", "cost", "curl-row", "copy-answer"]) byId(id).hidden = true;
  byId("waiting").hidden = false;
}

/** An error's message, and below it OpenAI's code and the field that it is about. */
export function showError({ message, code, param }) {
  const where = [code, param].filter(Boolean).join(" · ");
  byId("waiting").hidden = true;
  byId("error").hidden = false;
  byId("error").replaceChildren(element("p", {}, message), ...(where ? [element("p", { class: "where" }, where)] : []));
}

export function showCurl(pictures, question, wishes, withKey) {
  const body = requestBody(pictures.map((_, index) => placeholder(index)), question, wishes);
  byId("curl").textContent = curl(body, pictures, withKey);
  byId("curl-row").hidden = false;
}

export function askForKey({ now = false } = {}) {
  byId("key-row").hidden = false;
  if (now) byId("key").focus();
}
