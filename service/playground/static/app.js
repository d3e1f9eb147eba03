// What happens on the page. Pictures, question and key are kept in this tab's memory and nowhere else.

import { ask, modelName, reasons, requestBody } from "./chat.js";
import { showCost } from "./cost.js";
import { byId } from "./dom.js";
import { receiveFiles } from "./files.js";
import { forget, MOST, read } from "./pictures.js";
import * as view from "./view.js";

const POLL = 2000; // milliseconds between two readiness checks
const state = { pictures: [], offer: null, ready: false, polling: false, running: null, taking: Promise.resolve() };

// --- the service ---

async function untilReady() {
  if (state.polling) return;
  state.polling = true;
  while (!(await look())) await new Promise((resume) => setTimeout(resume, POLL));
  state.polling = false;
  await showModel();
}

async function look() {
  const why = await reasons().catch((refused) => refused.message);
  state.ready = !why;
  view.showReadiness(why);
  view.showRunning(state.running !== null, state.ready);
  return state.ready;
}

async function showModel() {
  try {
    byId("model").textContent = await modelName(key());
  } catch (refused) {
    if (refused.status === 401) view.askForKey();
  }
}

function key() {
  return byId("key").value.trim();
}

// --- pictures ---

async function take(files, { append = false, questions = state.offer.questions } = {}) {
  const room = append ? MOST - state.pictures.length : MOST;
  let taken;
  clearAnswer();
  try {
    taken = await Promise.all(files.slice(0, room).map(({ blob, ...named }) => read(blob, named)));
  } catch (wrong) {
    view.showError(wrong);
    return;
  }
  if (!append) state.pictures.forEach(forget);
  state.pictures = append ? [...state.pictures, ...taken] : taken;
  showPictures();
  view.showQuestions(questions, askThis);
  if (files.length > room) {
    view.showError({ message: `Only ${MOST} pictures fit into one question; the others were left out.` });
  }
}

function takeScene(scene) {
  byId("question").value = scene.questions[0];
  next(async () => {
    const file = `${state.offer.folder}/${scene.file}`;
    try {
      const response = await fetch(`playground/scenes/${scene.file}`);
      const blob = await response.blob();
      await take([{ blob, file, alt: scene.alt, scene: scene.file }], { questions: scene.questions });
    } catch {
      view.showError({ message: `${file} could not be loaded.` });
    }
  });
}

/** Pictures are taken one after the other, as they were chosen, and a question waits for them. */
function next(taking) {
  state.taking = state.taking.then(taking);
}

function remove(picture) {
  forget(picture);
  state.pictures = state.pictures.filter((other) => other !== picture);
  clearAnswer();
  byId("choose").focus();
}

function showPictures() {
  view.showPictures(state.pictures, remove);
}

// --- question and answer ---

function askThis(question) {
  byId("question").value = question;
  send();
}

async function send() {
  await state.taking;
  const question = byId("question").value.trim();
  if (state.running || !state.ready || !question) return;
  if (!byId("form").checkValidity()) {
    byId("options").open = true; // what is wrong must be seen
    byId("form").reportValidity();
    return;
  }
  const pictures = state.pictures;
  clearAnswer();
  view.showCurl(pictures, question, wishes(), Boolean(key()));
  const running = new AbortController();
  state.running = running;
  view.showRunning(true, state.ready);
  const body = requestBody(pictures.map(({ url }) => url), question, wishes());
  const onText = (text) => state.running === running && view.showText(text);
  try {
    const told = await ask(body, { key: key(), signal: running.signal, onText });
    if (state.running === running && told.cost) showTold(told, pictures);
  } catch (refused) {
    // an answer that was abandoned for another question is no longer shown
    if (state.running === running) showRefusal(refused, pictures);
  } finally {
    if (state.running === running) state.running = null;
    view.showRunning(state.running !== null, state.ready);
  }
}

function wishes() {
  return {
    detail: document.querySelector("input[name=detail]:checked").value,
    system: byId("system").value.trim(),
    temperature: byId("temperature").valueAsNumber,
    length: byId("length").valueAsNumber,
  };
}

function showTold(told, pictures) {
  told.cost.images.forEach((image, index) => {
    pictures[index].cost = image;
  });
  showPictures();
  showCost(told);
  byId("cost").hidden = false;
}

function showRefusal(refused, pictures) {
  if (refused.name === "AbortError") {
    view.showError({ message: "Cancelled." });
    return;
  }
  const at = /^messages\[\d+\]\.content\[(\d+)\]/.exec(refused.param ?? "");
  if (at && pictures[at[1]]) pictures[at[1]].wrong = true;
  showPictures();
  view.showError(refused);
  if (refused.status === 401) view.askForKey({ now: true });
  if (refused.status >= 500 || refused.code === "no_answer") untilReady();
}

/** Cancels a running request: an answer belongs to the pictures that it was given for. */
function clearAnswer() {
  state.running?.abort();
  state.running = null;
  view.showNoAnswer();
  for (const picture of state.pictures) Object.assign(picture, { cost: null, wrong: false });
  showPictures();
}

/** What the button says afterwards holds until what was copied changes. */
async function copy(shown, button) {
  try {
    await navigator.clipboard.writeText(shown.textContent);
    button.textContent = "Copied";
  } catch {
    // without TLS, only a page from this machine may write to the clipboard
    getSelection().selectAllChildren(shown);
    button.textContent = "Selected: press Ctrl+C";
  }
  const changes = new MutationObserver(() => {
    button.textContent = "Copy";
    changes.disconnect();
  });
  changes.observe(shown, { childList: true, characterData: true, subtree: true });
}

// --- wiring ---

function listen() {
  receiveFiles((files, how) => next(() => take(files, how)));
  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  byId("question").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  document.addEventListener("keydown", (event) => event.key === "Escape" && state.running?.abort());
  byId("cancel").addEventListener("click", () => state.running?.abort());
  byId("key").addEventListener("change", showModel);
  byId("tiles").addEventListener("change", (event) => {
    byId("figures").classList.toggle("plain", !event.target.checked);
  });
  for (const [button, shown] of [["copy", "curl"], ["copy-answer", "answer"]]) {
    byId(button).addEventListener("click", () => copy(byId(shown), byId(button)));
  }
}

state.offer = await (await fetch("playground/scenes.json")).json();
listen();
view.showScenes(state.offer, takeScene);
view.showQuestions(state.offer.questions, askThis);
untilReady();
if (state.offer.scenes.length) takeScene(state.offer.scenes[0]);
