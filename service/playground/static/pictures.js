// Pictures: from a file to what is sent and what is shown, with its tiles drawn over it.

import { element, svg } from "./dom.js";

export const MOST = 4;
const LARGEST = 64 * 1024 * 1024; // bytes; the page would freeze long before a server accepted more

/** Reads a blob. Throws an Error with a message for the user if it is far too large. */
export async function read(blob, { file, alt = "", scene = "" }) {
  if (blob.size > LARGEST) throw new Error(`${file} is ${Math.round(blob.size / 2 ** 20)} MB, which is too large to send.`);
  // the server decides by the bytes alone, but requires some image type to be declared
  const type = blob.type.startsWith("image/") ? blob.type : "image/unknown";
  const url = await dataUrl(new Blob([blob], { type }));
  return { file, alt, scene, type, url, shown: URL.createObjectURL(blob), cost: null, wrong: false };
}

export function forget(picture) {
  URL.revokeObjectURL(picture.shown);
}

export function figure(picture, onRemove) {
  const frame = element("div", { class: "frame" }, image(picture));
  if (picture.cost) frame.append(tiles(picture.cost.grid));
  const name = picture.file.split("/").pop();
  const remove = element("button", { type: "button", class: "remove", "aria-label": `Remove ${name}` }, "×");
  remove.addEventListener("click", onRemove);
  const caption = element("figcaption", {}, element("span", { class: "name" }, name));
  if (picture.cost) caption.append(element("span", { class: "cost" }, sentence(picture.cost)));
  return element("figure", picture.wrong ? { class: "wrong" } : {}, frame, caption, remove);
}

function image(picture) {
  const shown = element("img", { src: picture.shown, alt: picture.alt || `Your picture ${picture.file}` });
  shown.addEventListener("load", () => {
    shown.parentElement.style.setProperty("--ratio", shown.naturalWidth / shown.naturalHeight);
  });
  shown.addEventListener("error", () => shown.replaceWith(element("p", { class: "blank" }, "no preview")));
  return shown;
}

const FINEST = 8; // screen pixels per tile; with smaller tiles the lines would hide the picture

/** The whole picture is resized to the grid before it is cut, so the tiles are equal parts of it. */
function tiles([columns, rows]) {
  const inner = (count, line) => Array.from({ length: count - 1 }, (_, index) => line(index + 1)).join("");
  const path =
    `M0 0H${columns}V${rows}H0Z` +
    inner(columns, (x) => `M${x} 0V${rows}`) +
    inner(rows, (y) => `M0 ${y}H${columns}`);
  const stroke = (kind) => svg("path", { d: path, class: kind, "vector-effect": "non-scaling-stroke" });
  const box = { class: "tiles", viewBox: `0 0 ${columns} ${rows}`, preserveAspectRatio: "none", "aria-hidden": "true" };
  const drawn = svg("svg", box, stroke("shade"), stroke("line"));
  new ResizeObserver(([{ contentRect: { width, height } }]) => {
    drawn.classList.toggle("fine", Math.min(width / columns, height / rows) < FINEST);
  }).observe(drawn);
  return drawn;
}

function sentence({ width, height, grid: [columns, rows], tiles, tokens, detail, cached }) {
  const cut = columns * rows === 1 ? "1 tile" : `${columns} × ${rows} tiles`;
  const whole = tiles > columns * rows ? " and a thumbnail" : "";
  const told = [`${width} × ${height}`, cut + whole, `${tokens} tokens`, `detail ${detail}`, cached ? "from cache" : "encoded"];
  return told.join("\u00a0· "); // a line may end with a dot, and never begins with one
}

function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () => reject(new Error("The file could not be read.")));
    reader.readAsDataURL(blob);
  });
}
