// The picture of what flows: sources → journal → sinks. Beside each other where there is room, below each other where
// there is not. Every box is a link to the room that tells more.
import { html, useEffect, useRef, useState } from "./lib.js";
import * as format from "./format.js";
import { link } from "./route.js";

const NARROW = 620;
const MOST_BOXES = 12;
const BOX = { height: 54, gap: 10 };
const MARKS = { ok: "●", warn: "▲", bad: "■", quiet: "○" };

const cut = (text, width, perCharacter = 8) => {
  const most = Math.max(3, Math.floor(width / perCharacter));
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
};

// What does not fit is summed up in one box.
function bounded(boxes, room, rest) {
  if (boxes.length <= MOST_BOXES) return boxes;
  const left = boxes.length - MOST_BOXES + 1;
  return [...boxes.slice(0, MOST_BOXES - 1), { name: `${left} more`, health: "quiet", state: "", top: "", bottom: rest, to: link(room) }];
}

function Box({ box, x, y, width }) {
  return html`<a href=${box.to} class=${`box ${box.health}`}>
    <rect x=${x} y=${y} width=${width} height=${BOX.height} rx="8" class="box-back" />
    <rect x=${x} y=${y + 8} width="4" height=${BOX.height - 16} rx="2" class="box-edge" />
    <text x=${x + 14} y=${y + 22} class="box-name">${cut(box.name, width - 28 - (box.top ? 66 : 0))}</text>
    ${box.top && html`<text x=${x + width - 10} y=${y + 22} text-anchor="end" class="box-rate">${box.top}</text>`}
    <text x=${x + 14} y=${y + 41} class="box-more"><tspan class="box-mark" aria-hidden="true">${MARKS[box.health]} </tspan>${cut([box.state, box.bottom].filter(Boolean).join(" · "), width - 34, 6.3)}</text>
  </a>`;
}

const heightOf = (n) => n * BOX.height + (n - 1) * BOX.gap;
const curve = (x1, y1, x2, y2) => `M${x1} ${y1}C${(x1 + x2) / 2} ${y1} ${(x1 + x2) / 2} ${y2} ${x2} ${y2}`;

function wide(sources, journal, sinks, width) {
  const column = Math.min(270, Math.floor(width * 0.29));
  const height = Math.max(heightOf(sources.length), heightOf(sinks.length), BOX.height);
  const placed = (boxes, x) => {
    const from = (height - heightOf(boxes.length)) / 2;
    return boxes.map((box, n) => ({ box, x, y: from + n * (BOX.height + BOX.gap), width: column }));
  };
  const middle = (width - column) / 2;
  const [left, centre, right] = [placed(sources, 0), placed([journal], middle), placed(sinks, width - column)];
  const yOf = ({ y }) => y + BOX.height / 2;
  const lines = [
    ...left.map((it) => ({ d: curve(column, yOf(it), middle, yOf(centre[0])), flows: it.box.flows })),
    ...right.map((it) => ({ d: curve(middle + column, yOf(centre[0]), width - column, yOf(it)), flows: it.box.flows, health: it.box.health })),
  ];
  return { height, boxes: [...left, ...centre, ...right], lines };
}

function narrow(sources, journal, sinks, width) {
  const boxes = [];
  const lines = [];
  const rung = 26;
  let y = 0;
  const groups = [sources, [journal], sinks];
  groups.forEach((group, g) => {
    group.forEach((box) => {
      boxes.push({ box, x: 0, y, width });
      y += BOX.height + BOX.gap;
    });
    if (g < 2 && group.length) {
      y += rung - BOX.gap;
      const flows = (g === 0 ? sources : sinks).some((box) => box.flows);
      lines.push({ d: `M${width / 2} ${y - rung - BOX.gap + BOX.gap}V${y}`, flows });
    }
  });
  return { height: y - BOX.gap, boxes, lines };
}

export function Flow({ sources, journal, sinks }) {
  const frame = useRef(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const look = new ResizeObserver(([entry]) => setWidth(Math.floor(entry.contentRect.width)));
    look.observe(frame.current);
    return () => look.disconnect();
  }, []);
  const inn = bounded(sources, "events", "see Events");
  const out = bounded(sinks, "sinks", "see Sinks");
  const picture = width ? (width < NARROW ? narrow : wide)(inn, journal, out, width) : { height: 0, boxes: [], lines: [] };
  return html`<div ref=${frame} class="flow">
    ${width > 0 && html`<svg width=${width} height=${picture.height} viewBox=${`0 0 ${width} ${picture.height}`} role="group" aria-label="What flows: sources, journal, sinks">
      ${picture.lines.map(({ d, flows, health }) => html`<path d=${d} class=${`pipe ${flows ? "flows" : ""} ${health === "bad" ? "cut" : ""}`} />`)}
      ${picture.boxes.map((it) => html`<${Box} key=${it.box.to + it.box.name} ...${it} />`)}
    </svg>`}
  </div>`;
}

