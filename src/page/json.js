// JSON as text: found inside an answer, indented and coloured without being parsed, so that numbers, escapes and the
// order of keys stay as they were sent.
import { html, useState } from "./lib.js";
import * as format from "./format.js";

const MOST_COLOURED = 200_000;
// Characters of a text that are shown at once, and of each block of a longer one: a browser lays a block out alone.
const MOST_AT_ONCE = 100_000;
const BLOCK = 10_000;
const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|(-?\d[\d.eE+-]*)|(true|false|null)|([[\]{},])|\s+|[^]/g;

const blank = (text, at) => {
  while (at < text.length && " \t\r\n".includes(text[at])) at += 1;
  return at;
};

function endOfString(text, at) {
  for (at += 1; at < text.length && text[at] !== '"'; at += 1) if (text[at] === "\\") at += 1;
  return at + 1;
}

// Where the value that begins at `at` ends.
function endOfValue(text, at) {
  if (text[at] === '"') return endOfString(text, at);
  if (text[at] !== "{" && text[at] !== "[") {
    while (at < text.length && !",]} \t\r\n".includes(text[at])) at += 1;
    return at;
  }
  let depth = 0;
  while (at < text.length) {
    const c = text[at];
    if (c === '"') {
      at = endOfString(text, at);
      continue;
    }
    if (c === "{" || c === "[") depth += 1;
    if (c === "}" || c === "]") depth -= 1;
    at += 1;
    if (depth === 0) break;
  }
  return at;
}

// The text of the value at a path of keys and indices; null where there is none.
export function valueAt(text, path) {
  let from = blank(text, 0);
  for (const step of path) {
    const isList = text[from] === "[";
    if (!isList && text[from] !== "{") return null;
    let at = blank(text, from + 1);
    let found = -1;
    for (let n = 0; at < text.length && !"]}".includes(text[at]); n += 1) {
      let key = n;
      if (!isList) {
        const end = endOfString(text, at);
        key = JSON.parse(text.slice(at, end));
        at = blank(text, blank(text, end) + 1);
      }
      if (key === step) {
        found = at;
        break;
      }
      at = blank(text, endOfValue(text, at));
      if (text[at] === ",") at = blank(text, at + 1);
    }
    if (found < 0) return null;
    from = found;
  }
  return text.slice(from, endOfValue(text, from));
}

// Tokens with their classes, indented.
function tokens(text) {
  const out = [];
  let depth = 0;
  const newline = () => out.push(["", `\n${"  ".repeat(depth)}`]);
  let opened = false;
  for (const [whole, string, colon, number, word, mark] of text.matchAll(TOKEN)) {
    if (!whole.trim()) continue;
    const closes = mark === "}" || mark === "]";
    if (closes) depth = Math.max(0, depth - 1);
    if (closes ? !opened : opened) newline();
    opened = mark === "{" || mark === "[";
    if (opened) depth += 1;
    if (string) {
      out.push([colon ? "key" : "string", string]);
      if (colon) out.push(["", ": "]);
    } else {
      out.push([number ? "number" : word ? "word" : "", whole]);
    }
    if (mark === ",") newline();
  }
  return out;
}

export const pretty = (text) => tokens(text).map(([, token]) => token).join("");

// A scrolling block; focusable, so that it scrolls by keyboard.
export function Json({ text, label }) {
  if (text.length > MOST_COLOURED) return html`<${Plain} text=${text} label=${label} />`;
  const parts = tokens(text).map(([kind, token]) => (kind ? html`<span class=${`j-${kind}`}>${token}</span>` : token));
  return html`<pre class="code" tabindex="0" role="region" aria-label=${label}>${parts}</pre>`;
}

function blocksOf(text) {
  const blocks = [];
  for (let at = 0; at < text.length; at += BLOCK) blocks.push(text.slice(at, at + BLOCK));
  return blocks;
}

// A text as it came. Of a long one the beginning; all of it where that is asked for.
export function Plain({ text, label }) {
  const [isAll, setAll] = useState(false);
  const shown = isAll ? text : text.slice(0, MOST_AT_ONCE);
  const blocks = shown.length > BLOCK ? blocksOf(shown).map((block) => html`<span class="block">${block}</span>`) : shown;
  return html`<pre class="code raw" tabindex="0" role="region" aria-label=${label}>${blocks}</pre>
    ${shown.length < text.length && html`<p class="bar"><span class="quiet">The first ${format.count(MOST_AT_ONCE)} of ${format.count(text.length)} characters.</span><button type="button" onClick=${() => setAll(true)}>Show all</button></p>`}`;
}
