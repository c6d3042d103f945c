// What was sent again, and what waits to be: the chain of one message, and the list of all that wait.
import { html } from "./lib.js";
import { useAnswer } from "./api.js";
import { Act, Answer, Badge, Panel, Scroll, Time } from "./parts.js";
import * as format from "./format.js";
import { link } from "./route.js";
import { cancelResend } from "./acts.js";

const EVERY = 10_000;
const SHOWN = 100;
const KINDS = { waiting: "warn", handed: "info", sent: "ok", cancelled: "quiet", overtaken: "quiet", never: "bad" };
// Of some states it is not clear from the word what became of the try.
const WORDS = {
  cancelled: "was cancelled",
  overtaken: "was not sent: a message of the chain had arrived",
  never: "was not sent: a bound of its rule was reached, or something was missing",
};

const State = ({ state }) => html`<${Badge} kind=${KINDS[state] ?? "quiet"}>${state}<//>`;

const MessageLink = ({ id, own }) => (id === own ? html`<b>this message</b>` : html`<a class="mono" href=${link("messages", id)}>${id}</a>`);

function Cancel({ resend, readOnly, again }) {
  return html`<${Act} disabled=${readOnly} label=${`Cancel try ${resend.attempt} of ${format.shortId(resend.of)}`} onAct=${() => cancelResend(resend, again)}>Cancel<//>`;
}

// What became of a try that is no message yet, or never will be.
function came({ state, to, missing, fate, why, rule_gone: isRuleGone }) {
  const because = why ? `: ${why}` : "";
  if (state === "waiting") return isRuleGone ? "its rule is gone: it is given up when it is due" : "";
  if (missing) return `was not sent: ${missing}`;
  if (state !== "handed") return why ? `was not sent${because}` : WORDS[state];
  if (fate === "dead") return `was not sent, a dead letter of ${to}${because}`;
  return fate === "filtered" || fate === "dropped" ? `was not sent${because}` : `is the turn of ${to}${because}`;
}

// Why a message is not sent again.
const NotAgain = ({ it, own }) => html`<li><${Badge} kind="bad">given up<//>
  <span><${MessageLink} id=${it.failed} own=${own} /> is not sent again by rule ${it.rule}${it.code && html`, after <code>${it.code}</code>`}${it.in_words && ` (${it.in_words})`}: ${it.why}</span></li>`;

// The first message of the chain and every further try, with this message among them; nothing where there is none.
export function Chain({ message, readOnly, again }) {
  const resends = [...(message.resends ?? [])].sort((a, b) => a.attempt - b.attempt);
  const notAgain = message.not_again ?? [];
  const first = resends[0]?.of ?? message.sent?.of ?? notAgain[0]?.failed;
  if (!first) return null;
  return html`<h3 id="chain">Sent again</h3><ol class="chain" aria-labelledby="chain">
    <li><${Badge} kind="info">first<//> <span><${MessageLink} id=${first} own=${message.id} /></span></li>
    ${resends.map((it) => html`<li key=${it.id}><${State} state=${it.state} />
      <span>try ${it.attempt} by rule ${it.rule}, after <code>${it.code}</code>:${" "}
        ${it.message ? html`<${MessageLink} id=${it.message} own=${message.id} />` : html`<span class="quiet">${came(it)}</span> `}
        ${it.state === "waiting" && html`<span>due <${Time} at=${it.due} /> <span class="quiet">${format.until(it.due)}</span></span>`}
      </span>
      ${it.state === "waiting" && html`<${Cancel} resend=${it} readOnly=${readOnly} again=${again} />`}</li>`)}
    ${notAgain.map((it) => html`<${NotAgain} key=${it.failed} it=${it} own=${message.id} />`)}
  </ol>`;
}

// All that wait, soonest first; nothing where none does.
export function Waiting({ readOnly }) {
  const answer = useAnswer("/api/resends", { limit: SHOWN }, EVERY);
  if (answer.data?.items.length === 0) return null;
  return html`<${Panel} id="waiting" title="Waiting to be sent again">
    <${Answer} answer=${answer} what="what waits to be sent again">${(data) => html`<${Scroll} label="Waiting to be sent again"><table>
      <thead><tr><th scope="col">Due</th><th scope="col">Message that failed</th><th scope="col">Phone</th><th scope="col">Template</th><th scope="col">Code</th><th scope="col">Rule</th><th scope="col" class="num">Try</th><th scope="col"><span class="hidden">What can be done</span></th></tr></thead>
      <tbody>${data.items.map((it) => html`<tr key=${it.id}>
        <td><${Time} at=${it.due} /> <span class="quiet">${format.until(it.due)}</span></td><td><a class="mono" href=${link("messages", it.failed)}>${it.failed}</a></td>
        <td class="mono">${it.phone}</td><td>${it.template}</td><td><code>${it.code}</code></td><td>${it.rule}${it.rule_gone && html` <span class="quiet">(gone: it is given up)</span>`}</td><td class="num">${it.attempt}</td>
        <td><${Cancel} resend=${it} readOnly=${readOnly} again=${answer.again} /></td>
      </tr>`)}</tbody>
    </table><//>${data.next && html`<p class="quiet">The first ${SHOWN}. <code>hookrelay resend list</code> has them all.</p>`}`}<//>
  <//>`;
}
