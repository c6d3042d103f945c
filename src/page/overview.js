// Overview: what flows, what is wrong and what mends it, and the last hour or day.
import { html, useState } from "./lib.js";
import { useAnswer } from "./api.js";
import { Act, Answer, Badge, Empty, Loading, Panel, Problem, Scroll, Sentence, Time, pre } from "./parts.js";
import { Chart } from "./chart.js";
import { Flow } from "./flow.js";
import * as format from "./format.js";
import { link } from "./route.js";
import { pause, probe, reload, resume } from "./acts.js";

const refusals = (source) => Object.values(source.refused ?? {}).reduce((sum, n) => sum + n, 0);

// The rate is one over a while: where the last webhook is older than this, nothing flows any more.
const FRESH_MS = 30_000;
const isFresh = (at) => Boolean(at) && Date.now() - new Date(at).getTime() < FRESH_MS;

function sourceBox([name, source], reasons) {
  const about = reasons.filter((reason) => reason.subject === name).map((reason) => reason.code);
  const health = about.includes("budget_spent") ? "bad" : about.length ? "warn" : "ok";
  const state = about.length ? format.words(about[0]) : source.last_accepted ? `last one ${format.ago(source.last_accepted)}` : "nothing yet";
  const refused = refusals(source);
  const bottom = refused ? `${format.brief(refused)} refused` : "";
  return { name, health, state, top: format.rate(source.rate), bottom, flows: source.rate > 0 && isFresh(source.last_accepted), to: link("events", "", { source: name }) };
}

function sinkBox([name, sink], rate) {
  const health = sink.state === "down" ? "bad" : sink.state === "running" && !sink.dead ? "ok" : sink.state === "running" || sink.state === "paused" ? "warn" : "quiet";
  const parts = [sink.pending && `${format.brief(sink.pending)} pending`, sink.dead && `${format.brief(sink.dead)} dead`].filter(Boolean);
  return { name, health, state: sink.state, top: rate === null ? "" : format.rate(rate), bottom: parts.join(" · "), flows: rate > 0, to: link("sinks", name) };
}

const JOURNAL_CODES = ["at_risk", "disk_low", "journal_failing"];

function journalBox(status) {
  const about = status.reasons.filter((reason) => JOURNAL_CODES.includes(reason.code)).map((reason) => reason.code);
  const health = about.includes("journal_failing") || about.includes("at_risk") ? "bad" : about.length ? "warn" : "ok";
  const { events, bytes } = status.journal;
  // Null where others keep the journal and have not said.
  const state = about.length ? format.words(about[0]) : events === null ? "" : `${format.brief(events)} events`;
  return { name: "journal", health, state, top: "", bottom: bytes === null ? "" : format.bytes(bytes), flows: false, to: link("events", "", { view: "history" }) };
}

const ADVICE = {
  at_risk: "Webhooks are answered, but are not where they are safe: mend the disk, or the brokers, and do not stop the daemon before they are written.",
  journal_failing: "The journal cannot be written. Look at the disk, or at the brokers that keep it, and at the log: every failed write names its cause.",
  disk_low: "Make room on the journal's disk, or lower max_size of [journal] so that old segments go sooner.",
  node_away: "Look whether that machine runs and can be reached from the others. Its share of the deliveries is made by them.",
  source_silent: "Look in the provider's dashboard whether the webhook is still switched on and its address is right.",
  front_pressed: "Strangers hold many connections. Nothing is lost; a proxy or firewall in front should keep them away.",
};

// What mends a sink that is down, by the code of its last failure.
const DOWN_ADVICE = {
  connect: "Nothing answers at its address: is the target running, and does a firewall let this machine through?",
  dns: "Its host name is not known: look at the name in the sink's table, and at this machine's DNS.",
  tls: "The connection is not trusted or not understood: look at the target's certificate and its end date.",
  auth: "The target refuses the credentials of the sink's table: look whether they have changed or run out.",
  disk_full: "The target's disk is full: make room there.",
  timeout: "The target takes the connection but does not answer in time: it may be overloaded, or timeout of the sink's table too short.",
  io: "Reading or writing fails: look at the target's disk, its path and its permissions.",
  http_404: "The target knows no such path: look at url of the sink's table.",
  http_4xx: "The target refuses what it is sent: the dead letters tell why. Look at url of the sink's table and at transform of the route.",
  http_429: "The target is asked too much of: lower rate of the sink's table, or raise its limit there.",
  http_5xx: "The target fails by itself: its own log says why. Deliveries wait and go on when it is well.",
};

const GRAVE = ["sink_down", "at_risk", "journal_failing", "budget_spent"];

// Every trouble: how grave it is, in words, and the button that mends it.
function troubles(status, readOnly, again) {
  const list = status.reasons.map(({ code, subject, text }) => {
    let mend = null;
    if (code === "sink_down") mend = html`<${Act} class="main" disabled=${readOnly} label=${`Probe ${subject}`} onAct=${() => probe(subject, again)}>Probe<//><${Act} disabled=${readOnly} label=${`Pause ${subject}`} onAct=${() => pause(subject, again)}>Pause<//><a class="button" href=${link("sinks", subject)}>Look at it</a>`;
    if (code === "config_refused") mend = html`<a class="button main" href=${link("rules", "disk")}>Look at the faults</a><${Act} disabled=${readOnly} onAct=${() => reload(again)}>Reload<//>`;
    if (["budget_low", "budget_spent", "source_silent"].includes(code)) mend = html`<a class="button" href=${link("events", "", { source: subject })}>Its events</a>`;
    const advice = code === "sink_down" ? DOWN_ADVICE[status.sinks[subject]?.last_error?.code] : ADVICE[code];
    // The code stands before the sentence and says already that it is a sink or a source.
    return { key: code + subject, code, subject, kind: GRAVE.includes(code) ? "bad" : "warn", text: text.replace(/^(sink|source) /, ""), advice, mend };
  });
  for (const [name, sink] of Object.entries(status.sinks)) {
    if (sink.state === "paused") {
      list.push({ key: `paused${name}`, code: "paused", subject: name, kind: "warn", text: `${name} is paused; ${format.many(sink.pending, "delivery waits", "deliveries wait")}.`, mend: html`<${Act} class="main" disabled=${readOnly} label=${`Resume ${name}`} onAct=${() => resume(name, again)}>Resume<//>` });
    }
    if (sink.dead > 0) {
      list.push({ key: `dead${name}`, code: "dead letters", subject: name, kind: "warn", text: `${format.many(sink.dead, "delivery", "deliveries")} to ${name} ${sink.dead === 1 ? "was" : "were"} given up.`, mend: html`<a class="button" href=${link("dead", "", { sink: name })}>Look and retry</a>` });
    }
  }
  if (status.config?.state === "changed") {
    list.push({ key: "config", code: "config changed", subject: "", kind: "info", text: "The config on disk differs from the one in force, and nobody has asked for it to be read.", mend: html`<a class="button" href=${link("rules", "disk")}>See the difference</a>` });
  }
  return list;
}

function Troubles({ status, readOnly, again }) {
  const list = troubles(status, readOnly, again);
  if (!list.length) return html`<div class="all-well"><${Badge} kind="ok">all is well<//> <span>Webhooks are taken, and every sink takes its deliveries.</span></div>`;
  return html`<ul class="troubles">
    ${list.map((it) => html`<li key=${it.key} class=${it.kind}>
      <div><p><${Badge} kind=${it.kind}>${format.words(it.code)}<//> <span class=${`trouble-text ${pre(it.text)}`}><${Sentence} text=${it.text} /></span></p>${it.advice && html`<p class="quiet">${it.advice}</p>`}</div>
      ${it.mend && html`<div class="buttons">${it.mend}</div>`}
    </li>`)}
  </ul>`;
}

function Figure({ label, children, kind = "" }) {
  return html`<div class=${`figure ${kind}`}><dt>${label}</dt><dd>${children}</dd></div>`;
}

function Figures({ status }) {
  const sources = Object.values(status.sources);
  const sinks = Object.values(status.sinks);
  const sum = (list, key) => list.reduce((total, one) => total + (one[key] ?? 0), 0);
  const oldest = Math.max(0, ...sinks.map((sink) => sink.oldest_pending_s ?? 0));
  return html`<dl class="figures">
    <${Figure} label="coming in">${format.rate(sum(sources, "rate"))}<//>
    <${Figure} label="accepted">${format.brief(sum(sources, "accepted"))}<//>
    <${Figure} label="delivered">${format.brief(sum(sinks, "delivered"))}<//>
    <${Figure} label="pending">${format.brief(sum(sinks, "pending"))}${oldest > 1 && html`<small>oldest ${format.span(oldest)}</small>`}<//>
    <${Figure} label="dead letters">${format.brief(sum(sinks, "dead"))}<//>
    ${status.resends?.waiting > 0 && html`<${Figure} label="to be sent again"><a href=${link("messages")}>${format.brief(status.resends.waiting)}</a>${status.resends.next && html`<small>next ${format.until(status.resends.next)}</small>`}<//>`}
    <${Figure} label="no route">${format.brief(status.unmatched)}<//>
    ${status.disk?.free > 0 && html`<${Figure} label="disk free">${format.bytes(status.disk.free)}<//>`}
  </dl>`;
}

function History({ theme }) {
  const [span, setSpan] = useState("hour");
  const answer = useAnswer("/api/history", { span }, span === "hour" ? 10_000 : 60_000);
  const choose = html`<div class="segmented" role="group" aria-label="How far back">
    ${[["hour", "Last hour"], ["day", "Last day"]].map(([key, text]) => html`<button type="button" aria-pressed=${span === key} onClick=${() => setSpan(key)}>${text}</button>`)}
  </div>`;
  return html`<${Panel} id="history" title="History" aside=${choose}>
    <${Answer} answer=${answer} what="the history">${(data) => html`<${Charts} data=${data} theme=${theme} />`}<//>
  <//>`;
}

function Charts({ data, theme }) {
  const points = data.samples ?? [];
  if (points.length < 2) return html`<${Empty} title="The history has just begun">It is kept while the daemon runs; the first lines appear within a minute.<//>`;
  const step = data.step_s ?? 10;
  const times = points.map((point) => point.time);
  const perSecond = (key) => points.map((point) => (point[key] ?? null) === null ? null : point[key] / step);
  const plain = (key) => points.map((point) => point[key] ?? null);
  return html`<div class="charts">
    <${Chart} title="Webhooks a second" theme=${theme} times=${times} unit=${format.rate} lines=${[
      { label: "accepted", stroke: "--accent", fill: "--accent-soft", values: perSecond("accepted") },
      { label: "refused", stroke: "--bad", dash: [4, 3], values: perSecond("refused") },
    ]} />
    <${Chart} title="Deliveries a second" theme=${theme} times=${times} unit=${format.rate} lines=${[{ label: "delivered", stroke: "--ok", fill: "--ok-soft", values: perSecond("delivered") }]} />
    <${Chart} title="Pending" theme=${theme} times=${times} unit=${format.brief} lines=${[{ label: "pending", stroke: "--warn", fill: "--warn-soft", values: plain("pending") }]} />
    <${Chart} title="Time to answer" theme=${theme} times=${times} unit=${format.span} lines=${[
      { label: "half of all", stroke: "--accent", values: plain("answer_p50") },
      { label: "99 of 100", stroke: "--warn", dash: [4, 3], values: plain("answer_p99") },
    ]} />
  </div>`;
}

const NODE_KINDS = { ready: "ok", degraded: "warn", stopping: "warn" };

// Several daemons that are one relay; where there is one of its own kind, there is nothing to tell.
function Nodes({ nodes = [] }) {
  if (!nodes.length) return null;
  const words = (node) => [...node.reasons.map(format.words), node.why, node.config_differs && "its config is another one"].filter(Boolean).join(", ");
  return html`<${Panel} id="nodes" title="Daemons">
    <${Scroll} label="Daemons">
      <table>
        <thead><tr><th scope="col">Name</th><th scope="col">State</th><th scope="col">At risk</th><th scope="col">Host</th><th scope="col">Version</th><th scope="col">About it</th></tr></thead>
        <tbody>${nodes.map((node) => html`<tr key=${node.name}>
          <th scope="row">${node.name}</th>
          <td>${node.answered ? html`<${Badge} kind=${node.ready ? NODE_KINDS[node.state] : "bad"}>${node.ready ? node.state : "not ready"}<//>` : html`<${Badge} kind="bad">no answer<//>`}</td>
          <td>${node.at_risk === null ? "" : format.bytes(node.at_risk)}</td><td>${node.host}</td><td>${node.version}</td><td>${words(node)}</td>
        </tr>`)}</tbody>
      </table>
    <//>
  <//>`;
}

export function Overview({ status: answer, rateOf, readOnly, theme }) {
  const status = answer.data;
  if (!status) return answer.failure ? html`<${Problem} failure=${answer.failure} again=${answer.again} what="The status" />` : html`<${Loading} what="the status" />`;
  const sources = Object.entries(status.sources).map((it) => sourceBox(it, status.reasons));
  const sinks = Object.entries(status.sinks).map((it) => sinkBox(it, rateOf(it[0])));
  // What is not known to flow does not move.
  if (answer.failure) [...sources, ...sinks].forEach((box) => (box.flows = false));
  return html`
    <${Panel} id="state" title="State" aside=${html`<span class="quiet">since <${Time} at=${status.started} /> · ${status.version}</span>`}>
      <${Troubles} status=${status} readOnly=${readOnly} again=${answer.again} />
    <//>
    <${Panel} id="flow" title="What flows">
      <${Flow} sources=${sources} journal=${journalBox(status)} sinks=${sinks} />
      <${Figures} status=${status} />
    <//>
    <${Nodes} nodes=${status.nodes} />
    <${History} theme=${theme} />`;
}
