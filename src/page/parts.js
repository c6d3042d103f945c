// What rooms are made of: times, badges, states of a list, questions before something is done, and what came of it.
import { html, useEffect, useRef, useState } from "./lib.js";
import { Failure, post } from "./api.js";
import * as format from "./format.js";

export function Time({ at, relative = false, none = "never" }) {
  if (!at) return html`<span class="quiet">${none}</span>`;
  return html`<time datetime=${at} title=${format.utc(at)}>${relative ? format.ago(at) : format.time(at)}</time>`;
}

const TIMES = /(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))/;

// A sentence of the daemon's, its times by the reader's clock.
export const Sentence = ({ text }) => String(text).split(TIMES).map((part, n) => (n % 2 ? html`<${Time} at=${part} />` : part));

const MARKS = { ok: "●", warn: "▲", bad: "■", quiet: "○", info: "◆" };

// A word with a shape and a colour: never the colour alone.
export const Badge = ({ kind = "quiet", children }) =>
  html`<span class=${`badge ${kind}`}><span class="mark" aria-hidden="true">${MARKS[kind]}</span>${children}</span>`;

const FATES = { delivered: "ok", pending: "info", parked: "warn", dead: "bad", filtered: "quiet", dropped: "quiet" };
export const Fate = ({ fate }) => html`<${Badge} kind=${FATES[fate] ?? "quiet"}>${fate}<//>`;

const STATES = { running: "ok", down: "bad", paused: "warn", starting: "info", disabled: "quiet" };
export const SinkState = ({ state }) => html`<${Badge} kind=${STATES[state] ?? "quiet"}>${state || "unknown"}<//>`;

export const Loading = ({ what = "" }) => html`<p class="state" role="status">Loading ${what}…</p>`;

export const Empty = ({ title, children }) =>
  html`<div class="state"><p class="state-title">${title}</p>${children && html`<p>${children}</p>`}</div>`;

// A text of several lines shows an excerpt, whose marks stand below what they mean.
export const pre = (text) => (String(text).includes("\n") ? "pre mono" : "pre");

export function Problem({ failure, again, what = "This" }) {
  const title = failure.status === 0 ? "No answer" : `${what} could not be had`;
  return html`<div class="state problem" role="alert">
    <p class="state-title">${title}</p>
    <p class=${pre(failure.message)}>${failure.message}</p>
    ${again && html`<p><button type="button" onClick=${again}>Try again</button></p>`}
  </div>`;
}

// Of several daemons those that said nothing: what they have is not shown.
export const Unanswered = ({ of = [] }) => of.map(({ node, why }) =>
  html`<p key=${node} class="stale" role="status">▲ ${node === "?" ? "Not all daemons were asked" : `What daemon ${node} has may be missing`}: ${why}</p>`);

// What an answer is shown as: loading, its failure, or by `children` once there is one.
export function Answer({ answer, what, children }) {
  if (answer.data === null && answer.failure) return html`<${Problem} failure=${answer.failure} again=${answer.again} what=${what} />`;
  if (answer.data === null) return html`<${Loading} what=${what} />`;
  const stale = answer.failure && html`<p class="stale" role="status">▲ As of ${format.time(answer.at)}: ${answer.failure.message}</p>`;
  return html`${stale}<${Unanswered} of=${answer.data.unanswered} />${children(answer.data)}`;
}

export const Panel = ({ title, id, aside, children, class: more = "" }) =>
  html`<section class=${`panel ${more}`} aria-labelledby=${id}>
    <div class="panel-head"><h2 id=${id}>${title}</h2>${aside}</div>
    ${children}
  </section>`;

// Room for a table that may be wider than the screen: it scrolls by itself, by keyboard too.
export const Scroll = ({ label, children }) =>
  html`<div class="scroll" tabindex="0" role="region" aria-label=${label}>${children}</div>`;

export const Field = ({ label, name, value, hint, list, type = "text", onInput, ...more }) => html`<label class="field">
  <span>${label}</span>
  <input name=${name} type=${type} value=${value} onInput=${onInput} list=${list} autocomplete="off" spellcheck=${false} placeholder=${hint} ...${more} />
</label>`;

// What is chosen is shown, though there may be no such thing any more.
const withChosen = (options, value) => (!value || options.some(([key]) => key === value) ? options : [...options, [value, `${value} (not there)`]]);

export const Choice = ({ label, name, value, options, onChange }) => html`<label class="field">
  <span>${label}</span>
  <select name=${name} value=${value} onChange=${onChange}>
    ${withChosen(options, value).map(([key, text]) => html`<option key=${key} value=${key} selected=${key === value}>${text}</option>`)}
  </select>
</label>`;

// The fields of a form as an object, the empty ones left out.
export const fieldsOf = (form) => Object.fromEntries([...new FormData(form)].filter(([, value]) => value !== "").map(([key, value]) => [key, String(value).trim()]));

let show = () => {};

// Asks before something is done: gives the form's fields, or null where the answer is no. `check` says of the fields what
// is wrong with them, and the question stays. A grave one is answered by its button alone, not by Enter in a field.
export const confirm = (question) => new Promise((answer) => show({ ...question, answer }));

export function Questions() {
  const [question, setQuestion] = useState(null);
  const [wrong, setWrong] = useState("");
  const dialog = useRef(null);
  useEffect(() => {
    show = (question) => {
      setWrong("");
      setQuestion(question);
    };
  }, []);
  useEffect(() => {
    if (question) dialog.current?.showModal();
  }, [question]);
  // A question about a room that was left is not answered by accident.
  useEffect(() => {
    const left = () => dialog.current?.close("no");
    addEventListener("hashchange", left);
    return () => removeEventListener("hashchange", left);
  }, []);
  if (!question) return null;
  const close = () => {
    const element = dialog.current;
    const said = element.returnValue === "yes" ? fieldsOf(element.querySelector("form")) : null;
    setQuestion(null);
    question.answer(said);
  };
  const submit = (event) => {
    const fault = question.check?.(fieldsOf(event.target)) ?? "";
    setWrong(fault);
    if (fault) event.preventDefault();
  };
  const typed = (event) => {
    if (question.isGrave && event.key === "Enter" && event.target.tagName === "INPUT") event.preventDefault();
  };
  return html`<dialog ref=${dialog} onClose=${close} aria-labelledby="question-title" aria-describedby="question-text">
    <form method="dialog" onSubmit=${submit} onKeyDown=${typed}>
      <h2 id="question-title">${question.title}</h2>
      <div id="question-text">${question.text}</div>
      ${question.fields}
      ${wrong && html`<p class="failure" role="alert"><span aria-hidden="true">■ </span>${wrong}</p>`}
      <div class="buttons end">
        <button type="button" autofocus=${question.isGrave || !question.fields} onClick=${() => dialog.current.close("no")}>Cancel</button>
        <button value="yes" class=${question.isGrave ? "grave" : "main"}>${question.button}</button>
      </div>
    </form>
  </dialog>`;
}

let tell = () => {};

// A sentence about what came of something. It goes by itself; a failure stays until it is closed.
export const say = (text, kind = "ok") => tell({ text, kind, key: Math.random() });

export function News() {
  const [news, setNews] = useState([]);
  const drop = (key) => setNews((all) => all.filter((item) => item.key !== key));
  useEffect(() => {
    tell = (item) => {
      setNews((all) => [...all.slice(-3), item]);
      if (item.kind === "ok") setTimeout(() => drop(item.key), 8000);
    };
  }, []);
  return html`<div class="news" role="status" aria-live="polite">
    ${news.map((item) => html`<div key=${item.key} class=${`news-item ${item.kind}`}>
      <span><span aria-hidden="true">${MARKS[item.kind]} </span><span class=${pre(item.text)}>${item.text}</span></span>
      <button type="button" class="plain" aria-label="Close this message" onClick=${() => drop(item.key)}>×</button>
    </div>`)}
  </div>`;
}

// Posts, says what came of it (`words` null: its caller does), and gives the answer, or null where it failed.
export async function act(path, body, words) {
  try {
    const done = await post(path, body);
    if (words) say(typeof words === "function" ? words(done) : words);
    return done ?? {};
  } catch (failure) {
    if (!(failure instanceof Failure)) throw failure;
    say(failure.message, "bad");
    return null;
  }
}

// A button that is busy until what it began has ended.
export function Act({ onAct, class: kind = "", disabled = false, label, children }) {
  const [isBusy, setBusy] = useState(false);
  const alive = useRef(true);
  useEffect(() => () => {
    alive.current = false;
  }, []);
  const click = async () => {
    setBusy(true);
    try {
      await onAct();
    } finally {
      if (alive.current) setBusy(false);
    }
  };
  return html`<button type="button" class=${kind} disabled=${disabled || isBusy} aria-busy=${isBusy} aria-label=${label} onClick=${click}>${children}</button>`;
}

// Whether personal data is shown. It is masked again in the next room.
export function Mask({ isClear, onChange }) {
  return isClear
    ? html`<span class="mask"><${Badge} kind="warn">personal data is shown<//><button type="button" onClick=${() => onChange(false)}>Hide</button></span>`
    : html`<span class="mask"><span class="quiet">Personal data is masked.</span><button type="button" onClick=${() => onChange(true)}>Show</button></span>`;
}
