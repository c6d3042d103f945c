// Sinks: how each is, how much it takes and how fast, and the buttons that hold it, let it go, try it or move it on.
import { html } from "./lib.js";
import { useAnswer } from "./api.js";
import { Act, Answer, Empty, Loading, Panel, Problem, Scroll, SinkState, Time, act, confirm } from "./parts.js";
import * as format from "./format.js";
import { link } from "./route.js";
import { useLatencies } from "./rates.js";
import { pause, probe, resume, skip } from "./acts.js";

const PENDING_SHOWN = 100;
const ACCOUNTS = ["accepted", "delivered", "pending", "dead", "filtered", "dropped"];

// Those that may be fewer, where the sink says so.
const BOUNDS = ["accepted", "pending"];

export function Sinks({ route, status: answer, rateOf, readOnly }) {
  const latencyOf = useLatencies();
  const status = answer.data;
  if (!status) return answer.failure ? html`<${Problem} failure=${answer.failure} again=${answer.again} what="The sinks" />` : html`<${Loading} what="the sinks" />`;
  const names = Object.keys(status.sinks);
  const chosen = route.rest && status.sinks[route.rest] ? route.rest : null;
  if (!names.length) return html`<${Empty} title="There are no sinks">A sink is a table <code>[sinks.NAME]</code> of config.toml, and a route that names it.<//>`;
  return html`
    ${route.rest && html`<p class="crumbs"><a href=${link("sinks")}>All sinks</a> <span aria-hidden="true">/</span> ${route.rest}</p>`}
    ${route.rest && !chosen && html`<${Empty} title=${`There is no sink ${route.rest}`}>It may have gone with a reload.<//>`}
    <div class="cards">${(chosen ? [chosen] : route.rest ? [] : names).map((name) => html`<${Sink} key=${name} name=${name} sink=${status.sinks[name]} rate=${rateOf(name)} latency=${latencyOf(name)} readOnly=${readOnly} again=${answer.again} />`)}</div>
    ${chosen && html`<${Pending} key=${chosen} sink=${chosen} waiting=${status.sinks[chosen].pending} />`}
    <${Replays} readOnly=${readOnly} />`;
}

function Sink({ name, sink, rate, latency, readOnly, again }) {
  const isPaused = sink.state === "paused" || sink.paused;
  const off = readOnly || sink.state === "disabled";
  const isHeld = off || isPaused;
  const error = sink.last_error;
  return html`<section class=${`panel card ${sink.state}`} aria-labelledby=${`sink-${name}`}>
    <div class="panel-head"><h2 id=${`sink-${name}`}><a href=${link("sinks", name)}>${name}</a></h2><${SinkState} state=${sink.state} />
      ${sink.state === "down" && sink.down_since && html`<span class="quiet">since <${Time} at=${sink.down_since} /></span>`}</div>
    ${error && html`<p class=${sink.state === "down" ? "error-line failure" : "error-line quiet"}><code>${error.code}</code> ${error.detail} <span class="quiet">(<${Time} at=${error.time} />)</span></p>`}
    <dl class="accounts">
      ${sink.unknown ? html`<div class="zero"><dt>figures</dt><dd>not known yet</dd></div>` : ACCOUNTS.map((key) => html`<div key=${key} class=${sink[key] ? key : "zero"}><dt>${key}</dt><dd>${key === "dead" && sink.dead ? html`<a href=${link("dead", "", { sink: name })}>${format.brief(sink.dead)}</a>` : `${sink.stale ? "~ " : ""}${sink.at_most && BOUNDS.includes(key) ? "≤ " : ""}${format.brief(sink[key])}`}</dd></div>`)}
    </dl>
    <dl class="facts compact">
      <div><dt>Throughput</dt><dd>${rate === null ? "measuring" : format.rate(rate)}</dd></div>
      <div><dt>A call takes</dt><dd>${latency === null ? html`<span class="quiet">none was made yet</span>` : format.span(latency)}</dd></div>
      <div><dt>Oldest waits for</dt><dd>${sink.pending ? format.span(sink.oldest_pending_s) : html`<span class="quiet">nothing waits</span>`}</dd></div>
      <div><dt>Last delivered</dt><dd><${Time} at=${sink.last_delivered} none="not since the start" /></dd></div>
      ${sink.parked > 0 && html`<div><dt>Parked</dt><dd>${format.count(sink.parked)}</dd></div>`}
      ${sink.next_try && html`<div><dt>Next try</dt><dd><${Time} at=${sink.next_try} /></dd></div>`}
      ${sink.retried > 0 && html`<div><dt>Retried</dt><dd>${format.brief(sink.retried)}</dd></div>`}
    </dl>
    <div class="buttons">
      ${isPaused
        ? html`<${Act} class="main" disabled=${off} label=${`Resume ${name}`} onAct=${() => resume(name, again)}>Resume<//>`
        : html`<${Act} disabled=${off} label=${`Pause ${name}`} onAct=${() => pause(name, again)}>Pause<//>`}
      <${Act} class=${sink.state === "down" ? "main" : ""} disabled=${isHeld} label=${`Probe ${name}`} onAct=${() => probe(name, again)}>Probe<//>
      <${Act} class="grave" disabled=${off} label=${`Skip at ${name}`} onAct=${() => skip(name, sink.pending, again)}>Skip…<//>
    </div>
  </section>`;
}

function Pending({ sink, waiting }) {
  const answer = useAnswer("/api/pending", { sink, limit: PENDING_SHOWN }, 5000);
  return html`<${Panel} id="pending" title="Pending, after a failure">
    <${Answer} answer=${answer} what="what is pending">${(data) => data.items.length === 0 ? html`<p class="quiet">${waiting ? `${format.many(waiting, "delivery waits", "deliveries wait")} for the sink; none has failed by itself.` : "Nothing waits to be tried again."}</p>` : html`
      <${Scroll} label="Pending deliveries"><table>
        <thead><tr><th scope="col">Id</th><th scope="col">Type</th><th scope="col">Subject</th><th scope="col" class="num">Attempts</th><th scope="col">Next try</th><th scope="col">Last failure</th></tr></thead>
        <tbody>${data.items.map((it) => html`<tr key=${it.id}>
          <td><a class="mono" href=${link("messages", it.id)}>${format.shortId(it.id)}</a></td><td>${it.type}</td><td class="mono">${it.subject}</td><td class="num">${it.attempts}</td>
          <td><${Time} at=${it.next_try} none="–" /></td><td class="why"><code>${it.reason?.code}</code> ${it.reason?.detail}</td>
        </tr>`)}</tbody>
      </table><//>${data.next && html`<p class="quiet">The first ${PENDING_SHOWN}. <code>hookrelay pending list</code> has them all.</p>`}`}<//>
  <//>`;
}

function Replays({ readOnly }) {
  const answer = useAnswer("/api/replay", {}, 3000);
  const items = answer.data?.items ?? [];
  if (!items.length) return null;
  const cancel = async (id) => {
    const said = await confirm({ title: `End replay ${id}?`, text: html`<p>What it has come to is delivered; the rest is not.</p>`, button: "End it" });
    if (said && (await act("/api/replay/cancel", { id }, `Replay ${id} has ended.`))) answer.again();
  };
  return html`<${Panel} id="replays" title="Replays under way">
    <${Scroll} label="Table of replays"><table>
      <thead><tr><th scope="col">Replay</th><th scope="col">Sink</th><th scope="col">How far</th><th scope="col" class="num">Deliveries</th><th scope="col"><span class="hidden">End it</span></th></tr></thead>
      <tbody>${items.map((it) => html`<tr key=${`${it.id}${it.sink}`}><td>${it.id}</td><td>${it.sink}</td>
        <td><progress max="1" value=${it.done} aria-label=${`Replay ${it.id} to ${it.sink}`}></progress> ${Math.round(it.done * 100)} %</td><td class="num">${format.count(it.deliveries)}</td>
        <td><${Act} disabled=${readOnly} label=${`End it, replay ${it.id} to ${it.sink}`} onAct=${() => cancel(it.id)}>End it<//></td></tr>`)}</tbody>
    </table><//>
  <//>`;
}
