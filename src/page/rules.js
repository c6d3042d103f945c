// Rules: the config in force, what differs on disk, and a bench on which other rules are tried before they are put in
// force.
import { html, useMemo, useState } from "./lib.js";
import { ask, useAnswer } from "./api.js";
import { Act, Answer, Badge, Choice, Empty, Mask, Panel, Problem, Scroll, pre } from "./parts.js";
import { Json, valueAt } from "./json.js";
import { differences } from "./diff.js";
import * as format from "./format.js";
import { link } from "./route.js";
import { RouteList } from "./events.js";
import { reload } from "./acts.js";

const TABS = [["", "In force"], ["disk", "On disk"], ["bench", "Bench"]];
const STATES = { same: ["ok", "the file is what runs"], changed: ["warn", "the file has changed"], refused: ["bad", "the file is refused"] };

export function Rules({ route, config, status, readOnly }) {
  const tab = TABS.some(([key]) => key === route.rest) ? route.rest : "";
  return html`<div class="segmented tabs" role="group" aria-label="Parts of this room">
      ${TABS.map(([key, name]) => html`<a role="button" href=${link("rules", key)} aria-pressed=${String(key === tab)}>${name}</a>`)}
    </div>
    <${Answer} answer=${config} what="the config">${(data) => html`
      ${tab === "" && html`<${InForce} config=${data} />`}
      ${tab === "disk" && html`<${OnDisk} config=${data} readOnly=${readOnly} again=${() => {
        config.again();
        status.again();
      }} />`}
      ${tab === "bench" && html`<${Bench} config=${data} status=${status} event=${route.query.event} />`}
    `}<//>`;
}

const StateOf = ({ config }) => {
  const [kind, text] = STATES[config.state] ?? ["quiet", config.state];
  return html`<${Badge} kind=${kind}>${text}<//>`;
};

function Toml({ text, label }) {
  return html`<pre class="code lines" tabindex="0" role="region" aria-label=${label}>${text.replace(/\n$/, "").split("\n").map((line, n) => html`<span class="line" key=${n}><span class="no" aria-hidden="true">${n + 1}</span>${tinted(line)}\n</span>`)}</pre>`;
}

// Comments step back, names of tables stand out; no more is needed to find one's way.
function tinted(line) {
  const trimmed = line.trimStart();
  if (trimmed.startsWith("#")) return html`<span class="j-comment">${line}</span>`;
  if (/^\[.*\]/.test(trimmed)) return html`<b class="j-table">${line}</b>`;
  const key = /^(\s*[\w."-]+\s*=)(.*)$/.exec(line);
  return key ? html`<span class="j-key">${key[1]}</span>${key[2]}` : line;
}

function InForce({ config }) {
  return html`<${Panel} id="force" title="The config in force" aside=${html`<${StateOf} config=${config} />`}>
    <p class="quiet"><span class="mono">${config.path}</span> · secrets stand as <code>$\{NAME}</code></p>
    <${Toml} text=${config.running} label="Text of the config" />
  <//>`;
}

function OnDisk({ config, readOnly, again }) {
  // In the place of a text that is no TOML stands a remark, which is not compared.
  const fault = config.on_disk_fault;
  const onDisk = typeof config.on_disk === "string" && !fault ? config.on_disk : null;
  const lines = useMemo(() => (onDisk === null ? [] : differences(config.running, onDisk)), [config.running, onDisk]);
  return html`<${Panel} id="disk" title="What differs on disk" aside=${html`<div class="buttons"><${StateOf} config=${config} /><${Act} class=${config.state === "changed" ? "main" : ""} disabled=${readOnly} onAct=${() => reload(again)}>Reload<//></div>`}>
    ${fault && html`<div class="state problem"><p class="state-title">The file is not TOML</p><p class="pre">${fault}</p><p class="quiet">Its text is not shown, as it is not known what is a secret in it. What runs stays in force.</p></div>`}
    ${config.fault && !fault && html`<div class="state problem"><p class="state-title">What is wrong with it</p><p class=${pre(config.fault)}>${config.fault}</p><p class="quiet"><code>hookrelay check</code> tells every fault with its place.</p></div>`}
    ${onDisk === null && !fault && html`<${Empty} title=${config.state === "same" ? "Nothing" : "The file cannot be read"}>${config.state === "same" ? html`<span class="mono">${config.path}</span> is what runs.` : "What runs stays in force."}<//>`}
    ${onDisk !== null && (lines.length ? html`<pre class="code lines diff" tabindex="0" role="region" aria-label="Differences, line by line">${lines.map(({ sign, text }, n) => html`<span key=${n} class=${sign === "+" ? "line added" : sign === "-" ? "line removed" : "line"}><span class="no">${sign === "…" ? " " : sign}</span>${sign === "…" ? html`<span class="j-comment">${text}</span>` : text}\n</span>`)}</pre><p class="quiet">− in force, + on disk.</p>` : html`<${Empty} title="No line differs">Only secrets or the ends of lines do.<//>`)}
  <//>`;
}

// The routes of a config: what the bench begins with.
export function routesOf(toml) {
  const kept = [];
  let isIn = false;
  for (const line of toml.split("\n")) {
    if (/^\s*\[/.test(line)) isIn = /^\s*\[\[?\s*routes\b/.test(line);
    if (isIn) kept.push(line);
  }
  return `${kept.join("\n").trim()}\n`;
}

const SPANS = [["1h", "the last hour"], ["today", "today"], ["yesterday", "since yesterday"], ["7d", "the last 7 days"]];

// What was written on the bench, for who comes back to it. Rules that were not touched follow those in force.
let draft = { rules: null, given: "", source: "", since: "yesterday" };

function useDraft(event) {
  const [state, setState] = useState(() => (event ? { ...draft, given: event } : draft));
  draft = state;
  return [state, (more) => setState((was) => ({ ...was, ...more }))];
}

function Bench({ config, status, event }) {
  const [{ rules: edited, given, source, since }, write] = useDraft(event);
  const inForce = useMemo(() => routesOf(config.running), [config.running]);
  const rules = edited ?? inForce;
  const setRules = (text) => write({ rules: text === inForce ? null : text });
  const [result, setResult] = useState(null);
  const [lately] = useState(() => format.when("1h"));
  const recent = useAnswer("/api/events", { since: lately, limit: 20, data: false });
  const sources = Object.keys(status.data?.sources ?? {});
  const from = source || sources[0];
  const own = edited !== null;
  // `pasted` goes into the question as it stands: parsed, its numbers might come out as others.
  const explain = async (body, pasted = null, isClear = false) => {
    const rest = JSON.stringify({ ...body, ...(own ? { rules } : {}), clear: isClear });
    try {
      const { data, text } = await ask("POST", "/api/explain", { json: pasted === null ? rest : `{"body":${pasted},${rest.slice(1)}` });
      setResult({ data, text, isClear, show: (isClear) => explain(body, pasted, isClear) });
    } catch (failure) {
      setResult({ failure });
    }
  };
  const one = () => {
    const text = given.trim();
    if (!text) return setResult({ failure: { status: 400, message: "Paste a body, or pick an event." } });
    // An id holds nothing that JSON would begin with.
    if (/^[0-9a-f-]{8,}$/i.test(text)) return explain({ event: text });
    try {
      JSON.parse(text);
    } catch (error) {
      return setResult({ failure: { status: 400, message: `This is neither an event's id nor JSON: ${error.message}` } });
    }
    return explain(from ? { source: from } : {}, text);
  };
  return html`<${Panel} id="bench" title="Try rules">
    <p class="quiet">Nothing here is put in force. Edit the routes, give an event, and see what would go where.</p>
    <div class="bench">
      <div>
        <label class="field"><span>Routes ${own ? "(edited)" : "(as in force)"}</span><textarea name="rules" rows="16" spellcheck=${false} value=${rules} onInput=${(e) => setRules(e.target.value)}></textarea></label>
        <div class="buttons"><button type="button" disabled=${!own} onClick=${() => setRules(inForce)}>As in force</button></div>
      </div>
      <div>
        <label class="field"><span>An event's id, or a body</span><textarea name="event" rows="8" spellcheck=${false} value=${given} onInput=${(e) => write({ given: e.target.value })} placeholder='{"type": "message_api_read", …}'></textarea></label>
        <div class="filters">
          <label class="field"><span>Pick a recent event</span><select name="recent" onChange=${(e) => e.target.value && write({ given: e.target.value })}>
            <option value="">${recent.data?.items?.length ? "choose…" : "none in the last hour"}</option>
            ${(recent.data?.items ?? []).map((it) => html`<option key=${it.id} value=${it.id}>${format.time(it.time)} ${it.type}</option>`)}
          </select></label>
          ${sources.length > 1 && html`<${Choice} label="Source of the body" name="source" value=${from} options=${sources.map((name) => [name, name])} onChange=${(e) => write({ source: e.target.value })} />`}
        </div>
        <div class="buttons"><${Act} class="main" onAct=${one}>Explain<//></div>
        <h3>Earlier traffic</h3>
        <div class="filters"><${Choice} label="Accepted" name="since" value=${since} options=${SPANS} onChange=${(e) => write({ since: e.target.value })} />
          <div class="buttons"><${Act} onAct=${() => explain(format.timed({ since }))}>Compare<//></div></div>
      </div>
    </div>
    <div aria-live="polite">
      ${result?.failure && html`<${Problem} failure=${result.failure} what="The explanation" />`}
      ${result?.data && html`<${Result} key=${result.text} result=${result} />`}
    </div>
  <//>`;
}

function Result({ result: { data, text, isClear, show } }) {
  const sides = [["now", "By the rules in force"], ["other", "By these rules"]].filter(([key]) => data[key]);
  return html`
    ${sides.length > 0 && html`<${Mask} isClear=${isClear} onChange=${show} /><div class="bench">${sides.map(([key, title]) => html`<section key=${key} aria-label=${title}>
      <h3>${title}</h3>
      <${RouteList} routes=${data[key].routes} />
      ${data[key].deliveries.length === 0 && html`<${Empty} title="It goes nowhere" />`}
      ${data[key].deliveries.map((it, n) => html`<div key=${it.id + it.sink} class="delivery"><p><b>→ ${it.sink}</b> ${Object.entries(it.target ?? {}).map(([name, value]) => html`<span class="quiet">${name} </span><code>${value}</code> `)}</p>
        ${isClear && html`<${Json} text=${valueAt(text, [key, "deliveries", n, "payload"]) ?? "null"} label=${`Payload to ${it.sink}`} />`}</div>`)}
    </section>`)}</div>`}
    ${data.traffic && html`<${Traffic} traffic=${data.traffic} />`}`;
}

function Traffic({ traffic }) {
  const all = Object.entries(traffic.changes ?? {}).flatMap(([type, sinks]) => Object.entries(sinks).map(([sink, change]) => ({ type, sink, ...change })));
  const changes = ({ gained, lost, changed }) => (gained ?? 0) + (lost ?? 0) + (changed ?? 0);
  const rows = all.sort((a, b) => changes(b) - changes(a));
  return html`<section aria-label="Earlier traffic">
    <h3>${format.many(traffic.events, "event")}, ${traffic.differing ? html`${format.count(traffic.differing)} would go elsewhere` : "all as before"}</h3>
    ${!traffic.complete && html`<p class="stale">▲ Not all of the span was looked at: there is a bound.</p>`}
    ${rows.length > 0 && html`<${Scroll} label="Changes by type and sink"><table>
      <thead><tr><th scope="col">Type</th><th scope="col">Sink</th>${["before", "after", "gained", "lost", "changed"].map((key) => html`<th scope="col" class="num">${key}</th>`)}</tr></thead>
      <tbody>${rows.map((row) => html`<tr key=${row.type + row.sink}><td>${row.type}</td><td>${row.sink}</td>${["before", "after", "gained", "lost", "changed"].map((key) => html`<td class=${`num ${row[key] && key !== "before" && key !== "after" ? key : ""}`}>${format.count(row[key])}</td>`)}</tr>`)}</tbody>
    </table><//>`}
    ${traffic.examples?.length > 0 && html`<h3>Examples</h3><ul class="clicks">${traffic.examples.map((it) => html`<li>${it.what}: <a href=${link("messages", it.id)} class="mono">${format.shortId(it.id)}</a> ${it.type} → ${it.sink}</li>`)}</ul>`}
  </section>`;
}
