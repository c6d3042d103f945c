// What the buttons do. Whatever drops, skips, replays or sends again asks first.
import { html, useState } from "./lib.js";
import { Failure, post } from "./api.js";
import { Field, act, confirm, say } from "./parts.js";
import * as format from "./format.js";

const sinkPath = (name, verb) => `/api/sinks/${encodeURIComponent(name)}/${verb}`;
const then = async (done, again) => {
  if (done) again?.();
  return done;
};

export async function pause(name, again) {
  const said = await confirm({ title: `Pause ${name}?`, text: html`<p>It takes nothing until it is resumed, over restarts too. What comes meanwhile is kept.</p>`, button: "Pause" });
  return said && then(await act(sinkPath(name, "pause"), {}, (done) => `${name} is paused${done?.remark ? `: ${done.remark}` : ""}.`), again);
}

export const resume = async (name, again) => then(await act(sinkPath(name, "resume"), {}, `${name} is resumed.`), again);

export async function probe(name, again) {
  const done = await act(sinkPath(name, "probe"), {}, null);
  if (done) say(...probed(name, done));
  return then(done, again);
}

function probed(name, { outcome, code, detail }) {
  if (outcome === "delivered") return [`${name} answers, and has taken a delivery.`];
  if (outcome === "opens") return [`${name} answers; there was nothing to deliver.`];
  if (outcome === "waits") return [`${name} has not answered yet; its state will tell.`, "warn"];
  return [`${name} does not answer: ${[code, detail].filter(Boolean).join(", ") || "no reason was given"}`, "bad"];
}

function HowFar({ pending }) {
  const [how, setHow] = useState("");
  const choice = (key, text) => html`<label class="radio"><input type="radio" name="how" value=${key} checked=${how === key} onChange=${() => setHow(key)} /> ${text}</label>`;
  return html`<fieldset><legend>How far</legend>
    ${choice("time", "To the first event accepted at or after")}
    <${Field} label="Time" name="to" hint="today, 1h, 2026-11-28 09:00" onInput=${() => setHow("time")} />
    ${choice("end", html`To the end: ${format.many(pending, "delivery that waits is", "deliveries that wait are")} not made`)}
  </fieldset>`;
}

// What is wrong with how far a sink is to be moved on; nothing where all is right.
export function wrongWay({ how, to }) {
  if (!how) return "Choose how far.";
  if (how === "end") return "";
  if (!to) return "Say from when on it is to deliver.";
  return Number.isNaN(Date.parse(format.when(to))) ? `“${to}” is no time: today, 1h, 2026-11-28 or 2026-11-28 09:00.` : "";
}

export async function skip(name, pending, again) {
  const said = await confirm({
    title: `Skip at ${name}?`,
    text: html`<p>The sink goes on further on. What it skips is <b>not delivered</b> and counts as dropped; <b>Replay</b> can still bring it while the journal keeps it.</p>`,
    fields: html`<${HowFar} pending=${pending} />`,
    button: "Skip",
    check: wrongWay,
    isGrave: true,
  });
  const to = said?.how === "time" ? format.timed({ to: said.to }) : {};
  return said && then(await act(sinkPath(name, "skip"), to, (done) => `${name} has moved on: ${format.many(done?.dropped ?? 0, "delivery", "deliveries")} dropped.`), again);
}

// What comes of a delivery that a sink had before.
const REPEATS = { ignored: "knows ids, and ignores it", marked: "gets it again with the same id", doubled: "gets it twice" };

// What each sink makes of a repeat; nothing where that cannot be had: the question is asked all the same.
async function repeatsOf(span) {
  try {
    const { sinks } = await post("/api/replay/plan", span);
    return new Map(sinks.map(({ sink, repeats }) => [sink, REPEATS[repeats]]));
  } catch (failure) {
    if (!(failure instanceof Failure)) throw failure;
    return new Map();
  }
}

// One event, to one sink: the span of its own time alone.
export async function replayEvent(event, sinks, again) {
  const span = { since: event.time, until: justAfter(event.time), type: literal(event.type) };
  if (event.subject && !isMasked(event.subject)) span.subject = event.subject;
  const repeats = await repeatsOf(span);
  const told = (sink) => (repeats.has(sink) ? `${sink}: ${repeats.get(sink)}` : repeats.size ? `${sink}: no route names it for this type` : sink);
  const said = await confirm({
    title: "Replay this event?",
    text: html`<p>It is delivered once more, by the rules in force and under the same id. A sink that does not know ids, as a file, gets it twice.</p>`,
    fields: html`<label class="field"><span>To the sink</span><select name="sink">${sinks.map((sink) => html`<option key=${sink} value=${sink}>${told(sink)}</option>`)}</select></label>`,
    button: "Replay",
  });
  return said && then(await act("/api/replay", { ...span, sinks: [said.sink] }, `Replaying to ${said.sink}.`), again);
}

// Whether something of a text is hidden.
export const isMasked = (text) => String(text).includes("***");

// The next microsecond.
export function justAfter(time) {
  const [, head, fraction = "", zone] = /^(.*?\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)$/.exec(time) ?? [];
  if (!head) return time;
  const micros = Number(fraction.slice(0, 6).padEnd(6, "0")) + 1;
  if (micros < 1_000_000) return `${head}.${String(micros).padStart(6, "0")}${zone}`;
  return new Date(new Date(head + zone).getTime() + 1000).toISOString();
}

const literal = (type) => String(type).replace(/[*?[\]{}\\]/g, "?");

export async function reload(again) {
  const said = await confirm({ title: "Reload the config?", text: html`<p>All of the file is put in force, or nothing of it and the faults are told. No webhook is refused meanwhile.</p>`, button: "Reload" });
  if (!said) return;
  await act("/api/reload", {}, (done) => `The config is in force: ${format.many(done?.routes ?? 0, "route")}, ${format.many(done?.sources ?? 0, "source")}.${done?.warnings?.length ? ` ${done.warnings.join(" ")}` : ""}`);
  again?.();
}

// Retried deliveries are asked after so often, and so many in one question.
const OUTCOMES_EVERY = 1000;
const MOST_QUESTIONS = 60;
const MOST_ASKED = 200;

async function outcomesOf(letters) {
  const items = [];
  for (let at = 0; at < letters.length; at += MOST_ASKED) {
    const of = letters.slice(at, at + MOST_ASKED).map(({ sink, id, at: position }) => [sink, id, position]);
    items.push(...(await post("/api/dead/outcomes", { of })).items);
  }
  return items;
}

// What became of them, in words: `2 delivered, 28 died again (http_4xx)`.
export function outcomeWords(items) {
  const of = (outcome) => items.filter((it) => it.outcome === outcome);
  const codes = [...new Set(of("dead").map((it) => it.code).filter(Boolean))].join(", ");
  const parts = [[of("delivered"), "delivered"], [of("dead"), `died again${codes && ` (${codes})`}`], [of("filtered"), "filtered by today's rules"], [of("dropped"), "dropped"], [of("pending"), "wait to be tried again"]];
  return parts.filter(([some]) => some.length).map(([some, words]) => `${format.count(some.length)} ${words}`).join(", ");
}

// Says what became of retried letters once none of them waits any more, or after a minute, and gives it in words.
export async function tellOutcomes(letters) {
  try {
    for (let n = 1; ; n += 1) {
      await new Promise((done) => setTimeout(done, OUTCOMES_EVERY));
      const items = await outcomesOf(letters);
      if (n < MOST_QUESTIONS && items.some((it) => it.outcome === "pending")) continue;
      const words = outcomeWords(items);
      say(`Retried: ${words}.`, items.some((it) => it.outcome === "dead" || it.outcome === "pending") ? "warn" : "ok");
      return words;
    }
  } catch (failure) {
    if (!(failure instanceof Failure)) throw failure;
    return "";
  }
}

export async function cancelResend({ id, attempt, rule }, again) {
  const said = await confirm({ title: "Do not send it again?", text: html`<p>Try ${attempt} by rule ${rule} is given up. What is sent to this customer for other reasons goes on.</p>`, button: "Give it up" });
  const words = (done) => `${format.many(done?.cancelled ?? 0, "resend")} cancelled.`;
  return said && then(await act("/api/resends/cancel", { id }, words), again);
}

export async function letters(verb, ask, many, again) {
  const isDrop = verb === "drop";
  const title = `${isDrop ? "Drop" : "Retry"} ${many}?`;
  const text = isDrop
    ? html`<p>They are forgotten for good and count as dropped.</p>`
    : html`<p>They are routed by today's rules and delivered again.</p>`;
  const said = await confirm({ title, text, button: isDrop ? "Drop" : "Retry", isGrave: isDrop });
  const words = (done) => `${format.many(done?.letters ?? 0, "dead letter")} ${isDrop ? "dropped" : "to be tried again"}.`;
  return said && then(await act(`/api/dead/${verb}`, ask, words), again);
}
