// Events: as they come, or those of a span, with filters; and one event with all that is known of it.
import { html, useEffect, useMemo, useRef, useState } from "./lib.js";
import { Failure, get, url, useAnswer } from "./api.js";
import { Act, Answer, Badge, Choice, Empty, Fate, Field, Loading, Mask, Panel, Problem, Scroll, Time, fieldsOf } from "./parts.js";
import { Json, Plain, valueAt } from "./json.js";
import { LongList } from "./list.js";
import * as format from "./format.js";
import { go, link } from "./route.js";
import { isMasked, replayEvent } from "./acts.js";

const MOST_ROWS = 10_000;
const PAGE = 200;
// Events of the journal that the live view begins with.
const EARLIER = 100;
const COLUMNS = [["time", "Time"], ["type", "Type"], ["source", "Source"], ["subject", "Subject"], ["sinks", "Goes to"]];
const FILTERS = ["type", "source", "sink", "subject", "where", "since", "until"];
// What the live view can be asked.
const LIVE = ["type", "source", "sink", "where"];

export function Events({ route, ...more }) {
  return route.rest ? html`<${Event} key=${route.rest} id=${route.rest} ...${more} />` : html`<${List} query=${route.query} ...${more} />`;
}

function List({ query, status }) {
  const view = query.view === "history" ? "history" : "live";
  const asked = Object.fromEntries(FILTERS.filter((key) => query[key]).map((key) => [key, query[key]]));
  const submit = (event) => {
    event.preventDefault();
    go("events", "", { ...fieldsOf(event.target), view: view === "history" ? view : "" });
  };
  const names = (what) => Object.keys(status.data?.[what] ?? {});
  const options = (what) => [["", "all"], ...names(what).map((name) => [name, name])];
  const choose = html`<div class="segmented" role="group" aria-label="Which events">
    ${[["live", "Live"], ["history", "History"]].map(([key, text]) => html`<a role="button" href=${link("events", "", { ...asked, view: key === "live" ? "" : key })} aria-pressed=${String(view === key)}>${text}</a>`)}
  </div>`;
  return html`<${Panel} id="events" title=${view === "live" ? "As they come" : "In the journal"} aside=${choose}>
    <form class="filters" key=${JSON.stringify(query)} onSubmit=${submit}>
      <${Field} label="Type" name="type" value=${asked.type} hint="message_api_*" />
      <${Choice} label="Source" name="source" value=${asked.source ?? ""} options=${options("sources")} />
      <${Choice} label="Sink" name="sink" value=${asked.sink ?? ""} options=${options("sinks")} />
      ${view === "history" && html`<${Field} label="Subject" name="subject" value=${asked.subject} hint="message id" />
        <${Field} label="Since" name="since" value=${asked.since ?? "1h"} hint="1h, today, 2026-11-28" />
        <${Field} label="Until" name="until" value=${asked.until} hint="now" />`}
      <${Field} label="Where (jq)" name="where" value=${asked.where} hint='.data.message.message_status == "Failed"' class="mono" />
      <div class="buttons"><button class="main">Filter</button>${Object.keys(asked).length > 0 && html`<a class="button" href=${link("events", "", { view: view === "live" ? "" : view })}>Clear</a>`}</div>
    </form>
    ${view === "live" ? html`<${Live} key=${JSON.stringify(asked)} asked=${asked} />` : html`<${History} key=${JSON.stringify(asked)} asked=${asked} />`}
  <//>`;
}

const cells = (event) => [
  html`<${Time} at=${event.time} />`,
  html`<a href=${link("events", event.id)}>${event.type}</a>`,
  String(event.source ?? "").replace(/^\/webhooks\//, ""),
  event.subject ? html`<span class="mono" title=${event.subject}>${event.subject}</span>` : html`<span class="quiet">–</span>`,
  event.deliveries?.length ? event.deliveries.join(", ") : html`<span class="quiet">no route</span>`,
];

const useRowHeight = () => {
  const media = useMemo(() => matchMedia("(max-width: 700px)"), []);
  const [isNarrow, setNarrow] = useState(media.matches);
  useEffect(() => {
    const changed = () => setNarrow(media.matches);
    media.addEventListener("change", changed);
    return () => media.removeEventListener("change", changed);
  }, []);
  return isNarrow ? 58 : 34;
};

// The rows of the last live view, for who comes back to it.
let kept = { key: "", rows: [] };

// Rows that are shown and the newest of the journal as one list, newest first. Of the `old` rows, which stood before the
// stream was open, none may be among the newest: then more has come meanwhile than was asked for, and they go.
export function joined(rows, newest, old) {
  const idsOf = (events) => new Set(events.map(({ id }) => id));
  const [known, before] = [idsOf(rows), idsOf(old)];
  const isCut = newest.length >= EARLIER && !newest.some(({ id }) => before.has(id));
  const left = isCut ? rows.filter(({ id }) => !before.has(id)) : rows;
  const fresh = newest.filter(({ id }) => !known.has(id));
  if (!fresh.length) return left;
  return [...left, ...fresh].sort((a, b) => Date.parse(b.time) - Date.parse(a.time)).slice(0, MOST_ROWS);
}

// What has come is put in front, but for what the journal told of already.
function put({ rows, shift }, came) {
  const known = new Set(rows.slice(0, EARLIER + came.length).map(({ id }) => id));
  const fresh = came.filter(({ id }) => !known.has(id));
  return { rows: [...fresh, ...rows].slice(0, MOST_ROWS), shift: shift + fresh.length };
}

// Events by server-sent events, after the newest of the journal. What comes is put in at most once a frame, and the
// oldest rows go.
function useTail(asked, isHeld) {
  const key = JSON.stringify(asked);
  const [state, setState] = useState({ rows: kept.key === key ? kept.rows : [], isAsked: false, shift: 0, waiting: 0, leftOut: 0, link: "connecting", failure: null });
  const came = useRef([]);
  const held = useRef(isHeld);
  held.current = isHeld;
  const flush = useRef(() => {});
  useEffect(() => {
    let frame = 0;
    const query = { ...Object.fromEntries(LIVE.map((key) => [key, asked[key]])), data: false };
    const source = new EventSource(url("/api/tail", query));
    const set = (more) => setState((was) => ({ ...was, ...more }));
    flush.current = () => {
      frame = 0;
      if (held.current) {
        set({ waiting: came.current.length });
        return;
      }
      const fresh = came.current.reverse();
      came.current = [];
      if (fresh.length) setState((was) => ({ ...was, ...put(was, fresh), waiting: 0 }));
    };
    let isGone = false;
    // With the stream open nothing falls between the two.
    const fetchEarlier = async () => {
      const old = kept.rows;
      try {
        const { items } = await get("/api/events", { ...query, limit: EARLIER });
        if (!isGone) setState((was) => ({ ...was, rows: joined(was.rows, items, old), isAsked: true }));
      } catch (failure) {
        if (!(failure instanceof Failure)) throw failure;
        if (!isGone) set({ isAsked: true });
      }
    };
    source.onopen = () => {
      set({ link: "open", failure: null });
      fetchEarlier();
    };
    source.onmessage = ({ data }) => {
      came.current.push(JSON.parse(data));
      // While the reader holds the list, or the page is in the background, the newest are kept.
      if (came.current.length > MOST_ROWS) came.current.splice(0, came.current.length - MOST_ROWS);
      if (!frame) frame = setTimeout(() => flush.current(), document.hidden ? 1000 : 100);
    };
    // This page was too slow for what came.
    source.addEventListener("left_out", ({ data }) => setState((was) => ({ ...was, leftOut: was.leftOut + (JSON.parse(data).events ?? 0) })));
    source.onerror = async () => {
      set({ link: source.readyState === EventSource.CLOSED ? "closed" : "reconnecting" });
      if (source.readyState !== EventSource.CLOSED) return;
      // An event source does not say why it was refused: the same question is asked where an answer has words.
      try {
        await get("/api/events", { ...query, limit: 1 });
        set({ failure: new Failure(0, "The stream was refused. Too many may be open; close another page and try again.") });
      } catch (failure) {
        set({ failure });
      }
    };
    return () => {
      isGone = true;
      source.close();
      clearTimeout(frame);
    };
  }, []);
  useEffect(() => {
    if (!isHeld) flush.current();
  }, [isHeld]);
  kept = { key, rows: state.rows };
  return state;
}

const LINKS = { connecting: ["info", "connecting"], open: ["ok", "live"], reconnecting: ["warn", "offline, trying again"], closed: ["bad", "refused"] };

function Live({ asked }) {
  const [isHeld, setHeld] = useState(false);
  const tail = useTail(asked, isHeld);
  const height = useRowHeight();
  if (tail.failure) return html`<${Problem} failure=${tail.failure} what="The events" />`;
  const [kind, text] = isHeld ? ["warn", `held, ${format.count(tail.waiting)} waiting`] : LINKS[tail.link];
  return html`
    <div class="bar"><${Badge} kind=${kind}>${text}<//><span class="quiet">${format.many(tail.rows.length, "event")}${tail.rows.length === MOST_ROWS ? ", older ones are in History" : ""}</span>${tail.leftOut > 0 && html`<span class="quiet">${format.many(tail.leftOut, "event")} left out: more came than this page could take. History has them.</span>`}
      <button type="button" class="right" aria-pressed=${isHeld} onClick=${() => setHeld(!isHeld)}>${isHeld ? "Go on" : "Hold"}</button></div>
    ${tail.rows.length ? html`<${LongList} rows=${tail.rows} shift=${tail.shift} height=${height} label="Events" columns=${COLUMNS} row=${cells} />` : !tail.isAsked ? html`<${Loading} what="the newest events" />` : html`<${Empty} title="Nothing has come yet"><span>Events appear here as they are accepted. Those of another span are in <a href=${link("events", "", { ...asked, view: "history" })}>History</a>.</span><//>`}`;
}

// Pages of the journal, newest first, at most so many rows as the live view has.
function History({ asked }) {
  // Read once: a span that ends now would be another one each time.
  const [query] = useState(() => ({ ...format.timed({ since: "1h", ...asked }), data: false, limit: PAGE }));
  const first = useAnswer("/api/events", query);
  const [more, setMore] = useState({ rows: [], next: undefined, failure: null });
  const height = useRowHeight();
  const rows = [...(first.data?.items ?? []), ...more.rows];
  const next = more.next === undefined ? first.data?.next : more.next;
  const fetchMore = async () => {
    try {
      const page = await get("/api/events", { ...query, after: next });
      setMore((was) => ({ rows: [...was.rows, ...page.items], next: page.next, failure: null }));
    } catch (failure) {
      setMore((was) => ({ ...was, failure }));
    }
  };
  return html`<${Answer} answer=${first} what="the events">${() => html`
    <div class="bar"><span class="quiet">${format.many(rows.length, "event")}${next ? " so far" : ""}, newest first</span>
      ${next && rows.length < MOST_ROWS && html`<${Act} class="right" onAct=${fetchMore}>Load earlier ones<//>`}</div>
    ${more.failure && html`<${Problem} failure=${more.failure} again=${fetchMore} what="More" />`}
    ${rows.length ? html`<${LongList} rows=${rows} shift=${0} height=${height} label="Events" columns=${COLUMNS} row=${cells} />` : html`<${Empty} title="No event matches">Ask for more with an earlier Since, such as <code>today</code> or <code>7d</code>.<//>`}
  `}<//>`;
}

function Event({ id, status, readOnly }) {
  const [isClear, setClear] = useState(false);
  const answer = useAnswer(`/api/events/${encodeURIComponent(id)}`, isClear ? { clear: true } : {});
  const mask = html`<${Mask} isClear=${isClear} onChange=${setClear} />`;
  return html`
    <p class="crumbs"><a href=${link("events")}>Events</a> <span aria-hidden="true">/</span> <span class="mono">${id}</span></p>
    <${Answer} answer=${answer} what="This event">${(event) => html`
      <${Head} event=${event} status=${status} readOnly=${readOnly} again=${answer.again} />
      <${Deliveries} event=${event} />
      <${Routes} routes=${event.routes} />
      <${Body} event=${event} text=${answer.text} mask=${mask} />
      <${Headers} event=${event} mask=${mask} />
    `}<//>`;
}

function Head({ event, status, readOnly, again }) {
  const sinks = Object.keys(status.data?.sinks ?? {});
  return html`<${Panel} id="event" title=${event.type} aside=${html`<div class="buttons"><a class="button" href=${link("rules", "bench", { event: event.id })}>Try rules on it</a><${Act} class="main" disabled=${readOnly || !sinks.length} onAct=${() => replayEvent(event, sinks, again)}>Replay<//></div>`}>
    <dl class="facts">
      <div><dt>Accepted</dt><dd><${Time} at=${event.time} /> <span class="quiet">(${format.ago(event.time)})</span></dd></div>
      <div><dt>Source</dt><dd class="mono">${event.source}</dd></div>
      <div><dt>Subject</dt><dd>${!event.subject ? html`<span class="quiet">none</span>` : isMasked(event.subject) ? html`<span class="mono">${event.subject}</span>` : html`<a class="mono" href=${link("messages", event.subject)}>${event.subject}</a>`}</dd></div>
      <div><dt>Id</dt><dd class="mono">${event.id}</dd></div>
      <div><dt>Request</dt><dd class="mono">${event.method} ${event.path} <span class="quiet">from ${event.remote}</span></dd></div>
    </dl>
  <//>`;
}

export function DeliveryTable({ deliveries, label }) {
  return html`<${Scroll} label=${label}><table>
    <thead><tr><th scope="col">Sink</th><th scope="col">Fate</th><th scope="col">Last failure</th><th scope="col" class="num">Attempts</th><th scope="col">When</th><th scope="col">Next try</th></tr></thead>
    <tbody>${deliveries.map((it) => html`<tr key=${it.id + it.sink + (it.replay ?? "")}>
      <td><a href=${link("sinks", it.sink)}>${it.sink}</a>${it.replay ? html` <span class="quiet">replay</span>` : null}</td>
      <td>${it.fate === "dead" ? html`<a href=${link("dead", it.id, { sink: it.sink })}><${Fate} fate=${it.fate} /></a>` : html`<${Fate} fate=${it.fate} />`}</td>
      <td class="why">${it.fate === "pending" && it.waits_for && it.waits_for === it.detail ? html`<span class="quiet">the sink's own:</span> ` : null}${it.code ? html`<code>${it.code}</code> <span class="quiet">${it.detail}</span>` : it.detail ? html`<span class="quiet">${it.detail}</span>` : it.route ? html`<span class="quiet">by the route ${it.route}</span>` : html`<span class="quiet">–</span>`}</td>
      <td class="num">${it.attempts}${it.took_ms !== undefined && it.took_ms !== null ? html` <span class="quiet">${format.span(it.took_ms / 1000)}</span>` : null}</td>
      <td><${Time} at=${it.time} none="–" /></td>
      <td><${Time} at=${it.next_try} none="–" /></td>
    </tr>`)}</tbody>
  </table><//>`;
}

function Deliveries({ event }) {
  return html`<${Panel} id="deliveries" title="What became of it">
    ${event.deliveries?.length ? html`<${DeliveryTable} deliveries=${event.deliveries} label="Deliveries" />` : html`<${Empty} title="No sink was owed this event">Its routes are below.<//>`}
  <//>`;
}

export function RouteList({ routes }) {
  if (!routes?.length) return html`<${Empty} title="There are no routes" />`;
  return html`<ul class="routes">${routes.map((it) => html`<li key=${it.name}>
    <${Badge} kind=${it.matched ? "ok" : "quiet"}>${it.matched ? "matched" : "did not match"}<//> <b>${it.name}</b> <span class="quiet">${it.why}</span>
  </li>`)}</ul>`;
}

const Routes = ({ routes }) => html`<${Panel} id="routes" title="What the rules say"><${RouteList} routes=${routes} /><//>`;

const decoded = (base64) => {
  try {
    return new TextDecoder().decode(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)));
  } catch {
    return base64;
  }
};

function Body({ event, text, mask }) {
  const [isRaw, setRaw] = useState(false);
  const body = valueAt(text, ["data"]);
  const choose = html`<div class="segmented" role="group" aria-label="How the body is shown">
    ${[[false, "Pretty"], [true, "Raw"]].map(([raw, name]) => html`<button type="button" aria-pressed=${isRaw === raw} onClick=${() => setRaw(raw)}>${name}</button>`)}
  </div>`;
  return html`<${Panel} id="body" title="Body" aside=${body !== null && choose}>
    ${mask}
    ${body === null || isRaw
      ? html`<${Plain} text=${body ?? decoded(event.data_base64 ?? "")} label="Text of the body" />`
      : html`<${Json} text=${body} label="Text of the body" />`}
  <//>`;
}

// A value may be anything, a name too: it is shown when asked for.
function Headers({ event, mask }) {
  const headers = Array.isArray(event.headers) ? event.headers : Object.entries(event.headers ?? {});
  return html`<${Panel} id="headers" title="Kept headers">
    ${headers.length ? html`${mask}<dl class="facts">${headers.map(([name, value]) => html`<div><dt class="mono">${name}</dt><dd class="mono">${event.masked ? html`<span class="quiet">hidden</span>` : value}</dd></div>`)}</dl>` : html`<p class="quiet">None. <code>keep_headers</code> of a source says which are kept.</p>`}
  <//>`;
}
