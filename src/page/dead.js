// Dead letters: by sink and reason, what the target answered, what would be sent today; retry and drop.
import { html, useEffect, useMemo, useRef, useState } from "./lib.js";
import { ask, get, useAnswer } from "./api.js";
import { Act, Answer, Choice, Empty, Field, Loading, Panel, Problem, Scroll, Time, fieldsOf } from "./parts.js";
import { Json, valueAt } from "./json.js";
import * as format from "./format.js";
import { go, link } from "./route.js";
import { isMasked, letters, tellOutcomes } from "./acts.js";

const PAGE = 200;
const MOST_SHOWN = 1000;
const FILTERS = ["sink", "code", "type", "since", "until"];

export function DeadLetters({ route, ...more }) {
  return route.rest ? html`<${Letter} key=${`${route.rest} ${route.query.sink}`} id=${route.rest} sink=${route.query.sink} ...${more} />` : html`<${List} query=${route.query} ...${more} />`;
}

const keyOf = (letter) => `${letter.sink}\n${letter.id}`;

function groupsOf(items) {
  const groups = new Map();
  for (const letter of items) {
    const key = `${letter.sink}\n${letter.reason.code}`;
    if (!groups.has(key)) groups.set(key, { key, sink: letter.sink, code: letter.reason.code, letters: [] });
    groups.get(key).letters.push(letter);
  }
  return [...groups.values()].sort((a, b) => b.letters.length - a.letters.length);
}

function List({ query, status, readOnly }) {
  const asked = Object.fromEntries(FILTERS.filter((key) => query[key]).map((key) => [key, query[key]]));
  const spoken = useMemo(() => format.timed(asked), [JSON.stringify(asked)]);
  const first = useAnswer("/api/dead", { ...spoken, limit: PAGE });
  const [more, setMore] = useState({ items: [], next: undefined, failure: null });
  const [chosen, setChosen] = useState(new Set());
  useEffect(() => {
    setMore({ items: [], next: undefined, failure: null });
  }, [first.at, first.data === null]);
  const items = [...(first.data?.items ?? []), ...more.items];
  const next = more.next === undefined ? first.data?.next : more.next;
  const fetchMore = async () => {
    try {
      const page = await get("/api/dead", { ...spoken, limit: PAGE, after: next });
      setMore((was) => ({ items: [...was.items, ...page.items], next: page.next, failure: null }));
    } catch (failure) {
      setMore((was) => ({ ...was, failure }));
    }
  };
  const submit = (event) => {
    event.preventDefault();
    go("dead", "", fieldsOf(event.target));
  };
  const sinks = Object.keys(status.data?.sinks ?? {});
  const choose = (keys, isOn) => setChosen((was) => {
    const now = new Set(was);
    keys.forEach((key) => (isOn ? now.add(key) : now.delete(key)));
    return now;
  });
  const picked = items.filter((letter) => chosen.has(keyOf(letter)));
  const again = () => {
    first.again();
    status.again();
  };
  // The list follows the count. Where more of it was loaded, it stays until it is asked for.
  const count = Object.entries(status.data?.sinks ?? {}).reduce((sum, [name, sink]) => sum + (!asked.sink || asked.sink === name ? sink.dead : 0), 0);
  const counted = useRef(null);
  const [isOld, setOld] = useState(false);
  useEffect(() => {
    if (!status.data) return;
    const was = counted.current;
    counted.current = count;
    if (was === null || was === count) return;
    if (more.items.length) setOld(true);
    else first.again();
  }, [count, status.data === null]);
  useEffect(() => setOld(false), [first.at]);
  const done = (verb, ofSink) => {
    setChosen(new Set());
    if (verb === "retry") tellOutcomes(ofSink).then(again);
  };
  return html`<${Panel} id="letters" title="By sink and reason">
    <form class="filters" key=${JSON.stringify(query)} onSubmit=${submit}>
      <${Choice} label="Sink" name="sink" value=${asked.sink ?? ""} options=${[["", "all"], ...sinks.map((name) => [name, name])]} />
      <${Field} label="Code" name="code" value=${asked.code} hint="http_4xx" />
      <${Field} label="Type" name="type" value=${asked.type} hint="message_*" />
      <${Field} label="Since" name="since" value=${asked.since} hint="today" />
      <div class="buttons"><button class="main">Filter</button>${Object.keys(asked).length > 0 && html`<a class="button" href=${link("dead")}>Clear</a>`}</div>
    </form>
    <${Answer} answer=${first} what="the dead letters">${() => items.length === 0 ? html`<${Empty} title="No dead letters">${Object.keys(asked).length ? "None that these filters let through." : "Nothing was given up."}<//>` : html`
      <div class="bar sticky">
        <span>${chosen.size ? html`<b>${format.many(picked.length, "letter")}</b> selected` : html`<span class="quiet">${format.many(items.length, "letter")}${next ? " so far" : ""}</span>`}</span>
        ${isOld && html`<button type="button" onClick=${first.again}>The count has changed: load anew</button>`}
        <div class="buttons right">
          <${Act} class="main" disabled=${readOnly || !picked.length} onAct=${() => onPicked("retry", picked, done, again)}>Retry<//>
          <${Act} class="grave" disabled=${readOnly || !picked.length} onAct=${() => onPicked("drop", picked, done, again)}>Drop<//>
        </div>
      </div>
      ${groupsOf(items).map((group) => html`<${Group} key=${group.key} group=${group} chosen=${chosen} choose=${choose} />`)}
      ${more.failure && html`<${Problem} failure=${more.failure} again=${fetchMore} what="More" />`}
      ${next && (items.length < MOST_SHOWN ? html`<p><${Act} onAct=${fetchMore}>Load more<//></p>` : html`<p class="quiet">There are more. Filter, or use <code>hookrelay dead</code>, which takes all that match.</p>`)}
    `}<//>
  <//>`;
}

// Ids are a sink's own, so that each sink is asked for by itself.
async function onPicked(verb, picked, done, again) {
  const sinks = [...new Set(picked.map((letter) => letter.sink))];
  const changed = [];
  for (const sink of sinks) {
    const own = picked.filter((letter) => letter.sink === sink);
    const many = `${format.many(own.length, "dead letter")} of ${sink}`;
    if (!(await letters(verb, { sink, ids: own.map(({ id }) => id) }, many, null))) break;
    changed.push(...own);
  }
  if (!changed.length) return;
  done(verb, changed);
  again();
}

function Group({ group, chosen, choose }) {
  const keys = group.letters.map(keyOf);
  const on = keys.filter((key) => chosen.has(key)).length;
  const mixed = (box) => {
    if (box) box.indeterminate = on > 0 && on < keys.length;
  };
  const name = `${group.sink}, ${group.code}`;
  return html`<section class="group" aria-label=${name}>
    <h3><label><input type="checkbox" ref=${mixed} checked=${on === keys.length} onChange=${(event) => choose(keys, event.target.checked)} aria-label=${`All of ${name}`} /> ${group.sink} <code>${group.code}</code></label> <span class="quiet">${format.many(keys.length, "letter")}</span></h3>
    <${Scroll} label=${`Letters of ${name}`}><table>
      <thead><tr><th scope="col"><span class="hidden">Select</span></th><th scope="col">Id</th><th scope="col">Type</th><th scope="col">Why</th><th scope="col" class="num">Attempts</th><th scope="col">Died</th><th scope="col">Came</th></tr></thead>
      <tbody>${group.letters.map((letter) => html`<tr key=${letter.id}>
        <td><input type="checkbox" checked=${chosen.has(keyOf(letter))} onChange=${(event) => choose([keyOf(letter)], event.target.checked)} aria-label=${`Select ${format.shortId(letter.id)}`} /></td>
        <td><a class="mono" href=${link("dead", letter.id, { sink: letter.sink })}>${format.shortId(letter.id)}</a></td>
        <td>${letter.type}</td>
        <td class="why">${letter.reason.detail}</td>
        <td class="num">${letter.attempts}</td>
        <td><${Time} at=${letter.last_try} /></td>
        <td><${Time} at=${letter.time} /></td>
      </tr>`)}</tbody>
    </table><//>
  </section>`;
}

function Letter({ id, sink, readOnly, status }) {
  const answer = useAnswer("/api/dead", { ids: id, sink, whole: true });
  const [isClear, setClear] = useState(false);
  // What is masked stays there while what is not is fetched.
  const shown = useAnswer(isClear ? "/api/dead" : null, { ids: id, sink, whole: true, clear: true });
  const clear = isClear && shown.data ? shown : null;
  const [retried, setRetried] = useState(null);
  const again = () => {
    setRetried(null);
    answer.again();
    if (isClear) shown.again();
    status.again();
  };
  const onRetried = async (letter) => {
    setRetried("It is delivered again; what becomes of it is told here.");
    const words = await tellOutcomes([letter]);
    again();
    setRetried(words ? `${words.replace(/^1 /, "It ")}.` : "What became of it could not be asked.");
  };
  return html`
    <p class="crumbs"><a href=${link("dead")}>Dead letters</a> <span aria-hidden="true">/</span> <span class="mono">${id}</span></p>
    ${shown.failure && html`<${Problem} failure=${shown.failure} again=${shown.again} what="What is masked" />`}
    ${isClear && shown.failure && html`<${Problem} failure=${shown.failure} again=${shown.again} what="Personal data" />`}
    <${Answer} answer=${answer} what="This letter">${(masked) => masked.items.length === 0
      ? retried ? html`<${Empty} title="It was retried">${retried}<//>` : html`<${Empty} title="No such dead letter">It may have been retried or dropped meanwhile.<//>`
      : (clear?.data ?? masked).items.map((letter, n) => html`<${Whole} key=${letter.sink} letter=${letter} text=${(clear ?? answer).text} at=${n} isClear=${clear !== null} setClear=${setClear} readOnly=${readOnly} retried=${retried} onRetried=${onRetried} again=${again} />`)}<//>`;
}

function Whole({ letter, text, at, isClear, setClear, readOnly, retried, onRetried, again }) {
  const [today, setToday] = useState(null);
  const part = (name) => valueAt(text, ["items", at, name]);
  const preview = async () => {
    try {
      const said = await ask("POST", "/api/explain", { body: { event: letter.event_id, clear: isClear } });
      setToday({ said: said.data, text: said.text, isClear, failure: null });
    } catch (failure) {
      setToday({ failure });
    }
  };
  useEffect(() => {
    if (isClear && today?.said && !today.isClear) preview();
  }, [isClear]);
  const one = [{ sink: letter.sink, ids: [letter.id] }, `the dead letter ${format.shortId(letter.id)} of ${letter.sink}`, again];
  const retry = async () => {
    if (await letters("retry", ...one)) onRetried(letter);
  };
  const sent = part("payload") ?? part("event");
  return html`
    <${Panel} id="letter" title=${`${letter.type} to ${letter.sink}`} aside=${html`<div class="buttons"><${Act} class="main" disabled=${readOnly} onAct=${retry}>Retry<//><${Act} class="grave" disabled=${readOnly} onAct=${() => letters("drop", ...one)}>Drop<//></div>`}>
      ${retried && html`<p class="stale">▲ It was retried. ${retried}</p>`}
      <dl class="facts">
        <div><dt>Why</dt><dd><code>${letter.reason.code}</code> ${letter.reason.detail}</dd></div>
        <div><dt>The target said</dt><dd>${letter.answer && !isClear ? html`<span class="quiet">It may hold personal data.</span> <button type="button" onClick=${() => setClear(true)}>Show what it said</button>` : letter.answer ? html`<pre class="code small" tabindex="0" role="region" aria-label="What the target said">${letter.answer}</pre>` : html`<span class="quiet">Not kept. <code>keep_answer = true</code> of the sink keeps up to 512 bytes.</span>`}</dd></div>
        <div><dt>Died</dt><dd><${Time} at=${letter.last_try} /> <span class="quiet">after ${format.many(letter.attempts, "attempt")}, first at <${Time} at=${letter.first_try} /></span></dd></div>
        <div><dt>Came</dt><dd><${Time} at=${letter.time} /></dd></div>
        <div><dt>Event</dt><dd><a class="mono" href=${link("events", letter.event_id ?? letter.id)}>${letter.event_id ?? letter.id}</a></dd></div>
        ${letter.subject && html`<div><dt>Subject</dt><dd>${isMasked(letter.subject) ? html`<span class="mono">${letter.subject}</span>` : html`<a class="mono" href=${link("messages", letter.subject)}>${letter.subject}</a>`}</dd></div>`}
      </dl>
    <//>
    <${Panel} id="sent" title="What was to be sent" aside=${html`<button type="button" onClick=${() => setClear(!isClear)}>${isClear ? "Hide" : "Show"}</button>`}>
      ${!isClear && html`<p class="quiet">It may hold personal data, and is shown when asked for.</p>`}
      ${isClear && sent && html`<${Json} text=${sent} label="Payload" />`}
      ${isClear && part("target") && html`<h3>Target</h3><${Json} text=${part("target")} label="Target" />`}
    <//>
    <${Panel} id="today" title="What would be sent today" aside=${html`<${Act} onAct=${preview}>Preview<//>`}>
      ${today === null && html`<p class="quiet">Retry routes by the rules in force, which may have changed since. Preview shows what they make of it.</p>`}
      ${today?.failure && html`<${Problem} failure=${today.failure} again=${preview} what="The preview" />`}
      ${today?.said && html`<${Today} today=${today} sink=${letter.sink} isClear=${isClear && today.isClear} setClear=${setClear} />`}
    <//>`;
}

function Today({ today, sink, isClear, setClear }) {
  const mine = (today.said.now?.deliveries ?? []).map((it, n) => ({ it, n })).filter(({ it }) => it.sink === sink);
  if (!mine.length) return html`<${Empty} title="Nothing">No route sends this event to ${sink} today: a retry counts it as filtered.<//>`;
  if (!isClear) return html`<p>${format.many(mine.length, "delivery", "deliveries")} to ${sink}. <button type="button" onClick=${() => setClear(true)}>Show</button></p>`;
  return mine.map(({ n }) => html`<div key=${n}>
    <${Json} text=${valueAt(today.text, ["now", "deliveries", n, "payload"]) ?? "null"} label="Payload of today" />
    ${valueAt(today.text, ["now", "deliveries", n, "target"]) && html`<h3>Target</h3><${Json} text=${valueAt(today.text, ["now", "deliveries", n, "target"])} label="Target of today" />`}
  </div>`);
}
