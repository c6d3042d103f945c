// Messages: what became of one message, by its id, the id of one of its events or deliveries, or a phone number; and what
// waits to be sent again.
import { html, useEffect, useRef, useState } from "./lib.js";
import { AGAIN_MS, ask } from "./api.js";
import { Badge, Empty, Field, Loading, Mask, Panel, Problem, Time, Unanswered } from "./parts.js";
import * as format from "./format.js";
import { go, link } from "./route.js";
import { DeliveryTable, RouteList } from "./events.js";
import { Chain, Waiting } from "./resends.js";

// Most parts that a phone is looked for in, and most events of it that are shown.
const MOST_PARTS = 500;
const MOST_EVENTS = 500;
const SINCE = [["", "the last 7 days"], ["30d", "the last 30 days"], ["90d", "the last 90 days"]];

export function Messages({ route, status, readOnly }) {
  const submit = (event) => {
    event.preventDefault();
    const { id, since } = event.target.elements;
    if (id.value.trim()) go("messages", id.value.trim(), { since: since.value });
  };
  return html`
    <${Panel} id="find" title="Find a message">
      <form class="filters" key=${route.rest} onSubmit=${submit}>
        <${Field} label="Message id, event id, delivery id or phone" name="id" value=${route.rest} hint="+919876543210" required />
        <label class="field short"><span>A phone: within</span><select name="since" value=${route.query.since ?? ""}>${SINCE.map(([key, text]) => html`<option value=${key} selected=${key === (route.query.since ?? "")}>${text}</option>`)}</select></label>
        <div class="buttons"><button class="main">Find</button></div>
      </form>
      ${!route.rest && html`<${Empty} title="Where is it?">Type what you know: the message id, the id of an event or a delivery (its last 8 characters will do), or the phone number.<//>`}
    <//>
    ${!route.rest && status.data?.resends?.waiting > 0 && html`<${Waiting} readOnly=${readOnly} />`}
    ${route.rest && html`<${Trace} key=${`${route.rest} ${route.query.since}`} id=${route.rest} since=${route.query.since} readOnly=${readOnly} />`}`;
}

// A phone is looked for in parts, each within a bound; one part follows the other until all of the span was looked at.
function useTrace(id, query) {
  const [state, setState] = useState({ parts: [], failure: null, isLooking: true });
  const [turn, setTurn] = useState(0);
  const stop = useRef(null);
  useEffect(() => {
    const own = new AbortController();
    stop.current = own;
    const look = async () => {
      setState({ parts: [], failure: null, isLooking: true });
      try {
        for (let n = 0, after = ""; n === 0 || (after && n < MOST_PARTS); n += 1) {
          const { data } = await ask("GET", `/api/messages/${encodeURIComponent(id)}`, { query: { ...query, after }, signal: own.signal });
          after = data.next;
          setState((was) => ({ ...was, parts: [...was.parts, data] }));
        }
      } catch (failure) {
        if (!own.signal.aborted) setState((was) => ({ ...was, failure }));
      }
      if (stop.current === own) setState((was) => ({ ...was, isLooking: false }));
    };
    look();
    return () => {
      stop.current = null;
      own.abort();
    };
  }, [id, JSON.stringify(query), turn]);
  useEffect(() => {
    if (state.failure?.status !== 0) return undefined;
    const timer = setTimeout(() => setTurn((n) => n + 1), AGAIN_MS);
    return () => clearTimeout(timer);
  }, [state.failure]);
  return { ...state, again: () => setTurn((n) => n + 1), stop: () => stop.current?.abort() };
}

// The parts as one: what a later part says of a message counts.
export function merged(parts) {
  if (parts.length === 1) return parts[0];
  const messages = new Map();
  for (const part of parts) {
    for (const one of [...(part.messages ?? []), part.message].filter(Boolean)) messages.set(one.id, one);
  }
  const all = [...messages.values()];
  return {
    ...parts.at(-1),
    message: all.length === 1 ? all[0] : null,
    messages: all.length === 1 ? [] : all,
    events: parts.flatMap((part) => part.events).slice(-MOST_EVENTS),
    notes: [...new Set(parts.flatMap((part) => part.notes ?? []))],
  };
}

function Trace({ id, since, readOnly }) {
  const [isClear, setClear] = useState(false);
  const [from] = useState(() => (since ? format.when(since) : ""));
  const { parts, failure, isLooking, again, stop } = useTrace(id, { since: from, clear: isClear ? true : "" });
  const mask = html`<${Mask} isClear=${isClear} onChange=${setClear} />`;
  if (failure?.status === 404) return html`<${Empty} title="Nothing was found">${failure.message}<//>`;
  if (failure && !parts.length) return html`<${Problem} failure=${failure} again=${again} what="This message" />`;
  if (!parts.length) return html`<${Loading} what="the message" />`;
  const trace = merged(parts);
  return html`
    ${failure && html`<${Problem} failure=${failure} again=${again} what="The rest" />`}
    ${trace.next && html`<div class="bar"><progress max="1" value=${trace.done ?? 0} aria-label="How much was looked through"></progress>
      <span>${isLooking ? "Looking through the journal" : "Not all was looked through"}: ${Math.round((trace.done ?? 0) * 100)} %</span>
      ${isLooking ? html`<button type="button" onClick=${stop}>Stop</button>` : html`<button type="button" onClick=${again}>Look again</button>`}</div>`}
    ${(trace.notes ?? []).map((note) => html`<p key=${note} class="stale">▲ ${note}</p>`)}
    <${Unanswered} of=${trace.unanswered} />
    ${trace.message && html`<${Message} message=${trace.message} mask=${mask} readOnly=${readOnly} again=${again} />`}
    ${trace.messages?.length > 0 && html`<${Several} messages=${trace.messages} />`}
    ${trace.events.length > 0 && html`<${Events} trace=${trace} mask=${trace.message ? null : mask} />`}
    ${!trace.events.length && !trace.next && html`<${Empty} title="Nothing was found">The journal holds no event of it, or no longer does: <code>retention</code> of [journal] says for how long.<//>`}`;
}

const FACTS = [["phone", "Phone"], ["customer", "Customer"], ["template", "Template"], ["campaign", "Campaign"], ["way", "Sent by"]];

function Several({ messages }) {
  return html`<${Panel} id="several" title=${format.many(messages.length, "message")}>
    <ul class="clicks">${messages.map((message) => html`<li key=${message.id}><${Badge} kind=${kindOf(message.status)}>${message.status ?? "unknown"}<//> <a class="mono" href=${link("messages", message.id)}>${message.id}</a> <${Time} at=${message.ladder?.at(-1)?.accepted} none="" /></li>`)}</ul>
  <//>`;
}

const KINDS = { received: "info", failed: "bad", delivered: "ok", read: "ok", sent: "info", clicked: "ok" };
const kindOf = (status) => KINDS[String(status).toLowerCase()] ?? "quiet";

function Message({ message, mask, readOnly, again }) {
  const ladder = message.ladder ?? [];
  return html`<${Panel} id="message" title="The message" aside=${html`<${Badge} kind=${kindOf(message.status)}>${message.status || "unknown"}<//>`}>
    <dl class="facts"><div><dt>Id</dt><dd class="mono">${message.id}</dd></div>
    ${message.error && html`<div><dt>Error</dt><dd class="failure">${message.error.code && html`<code>${message.error.code}</code> `}${message.error.text ?? message.error.reason}</dd></div>`}
    ${message.sent && html`<div><dt>Sent through</dt><dd>${message.sent.sink}${message.sent.sender && ` as ${message.sent.sender}`}${message.sent.attempt > 0 && `, try ${message.sent.attempt} by rule ${message.sent.rule ?? "that has gone"}`}${message.sent.event && html` <a href=${link("events", message.sent.event)}>for this event</a>`}</dd></div>`}
    ${FACTS.filter(([key]) => message[key]).map(([key, name]) => html`<div key=${key}><dt>${name}</dt><dd>${message[key]}</dd></div>`)}</dl>
    <ol class="ladder" aria-label="Status ladder">
      ${ladder.map((step, n) => html`<li key=${step.event + step.status} class=${kindOf(step.status)}>
        <a href=${link("events", step.event)}><${Badge} kind=${kindOf(step.status)}>${step.status}<//></a>
        <span><${Time} at=${step.time ?? step.accepted} /></span>
        ${n > 0 && html`<span class="quiet">${after(ladder[n - 1], step)}</span>`}
      </li>`)}
    </ol>
    <${Chain} message=${message} readOnly=${readOnly} again=${again} />
    ${message.clicks?.length > 0 && html`<h3>Clicks</h3><ul class="clicks">${message.clicks.map((click) => html`<li><${Time} at=${click.time ?? click.accepted} /> <b>${click.button ?? "a button"}</b> <span class="quiet">${click.kind === "QR" ? "quick reply" : click.kind === "CTA" ? "call to action" : click.kind}</span></li>`)}</ul>`}
    ${message.replies?.length > 0 && html`<h3>Replies</h3><ul class="clicks">${message.replies.map((reply) => html`<li><a href=${link("events", reply.event)}><${Time} at=${reply.time ?? reply.accepted} /></a> ${reply.text ?? html`<span class="quiet">${reply.content_type}</span>`}</li>`)}</ul>`}
    ${mask}
  <//>`;
}

function after(before, step) {
  const seconds = (new Date(step.time ?? step.accepted) - new Date(before.time ?? before.accepted)) / 1000;
  return Number.isFinite(seconds) && seconds >= 0 ? `${format.span(seconds)} later` : "";
}

function Events({ trace, mask }) {
  return html`<${Panel} id="way" title=${format.many(trace.events.length, "event")} aside=${mask}>
    ${trace.events.map((event) => html`<article key=${event.id} class="traced">
      <h3><a href=${link("events", event.id)}>${event.type}</a> <span class="quiet"><${Time} at=${event.time} /> · ${event.source}</span></h3>
      ${event.deliveries?.length ? html`<${DeliveryTable} deliveries=${event.deliveries} label=${`Deliveries of ${event.type} ${format.shortId(event.id)}`} />` : html`<p class="quiet">No sink was owed this event.</p>`}
      <details><summary>What the rules say</summary><${RouteList} routes=${event.routes} /></details>
    </article>`)}
  <//>`;
}
