// The ways to add files: choose, drop, paste.

import { byId } from "./dom.js";

/** Calls `take(files, { append })` with [{ blob, file }], `file` being its name. */
export function receiveFiles(take) {
  for (const [id, append] of [["choose", false], ["add", true]]) {
    byId(id).addEventListener("change", (event) => {
      const files = named(event.target.files);
      event.target.value = ""; // so that the same file can be chosen again
      if (files.length) take(files, { append });
    });
  }
  // anywhere on the page: a drop beside the marked area would otherwise open the file instead
  document.addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    mark(true);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget === null && mark(false));
  document.addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    mark(false);
    take(named(event.dataTransfer.files), { append: false });
  });
  document.addEventListener("paste", (event) => {
    const files = named(event.clipboardData?.files ?? []);
    if (!files.length) return;
    event.preventDefault();
    take(files, { append: false });
  });
}

function named(files) {
  return [...files].map((blob) => ({ blob, file: blob.name || "pasted.png" }));
}

function holdsFiles(event) {
  return event.dataTransfer?.types.includes("Files");
}

function mark(on) {
  byId("stage").classList.toggle("over", on);
}
