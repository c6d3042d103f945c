// Charts by uPlot, which is fetched when the first one is wanted. Colours come from the page's style sheet; what a
// chart shows is also told in words.
import { html, useEffect, useRef, useState } from "./lib.js";
import * as format from "./format.js";

const HEIGHT = 150;
let library = null;

function load() {
  library ??= new Promise((done, failed) => {
    const style = document.createElement("link");
    style.rel = "stylesheet";
    style.href = "/page/uPlot.min.css";
    const script = document.createElement("script");
    script.src = "/page/uPlot.iife.min.js";
    script.onload = () => done(window.uPlot);
    script.onerror = failed;
    document.head.append(style, script);
  });
  return library;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// A value with none beside it has no line: it is drawn as a point.
function alone(u, series) {
  const values = u.data[series];
  const isThere = (n) => values[n] !== null && values[n] !== undefined;
  const points = [];
  for (let n = 0; n < values.length; n += 1) if (isThere(n) && !isThere(n - 1) && !isThere(n + 1)) points.push(n);
  return points.length ? points : null;
}

function options(uPlot, width, lines, unit) {
  const ink = colour("--muted");
  const grid = { stroke: colour("--line"), width: 1 };
  const font = "11px system-ui, sans-serif";
  const clock = (u, splits) => splits.map((s) => new Date(s * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }));
  const series = lines.map(({ label, stroke, dash, fill }) => ({
    label,
    stroke: colour(stroke),
    width: 1.75,
    dash,
    fill: fill ? colour(fill) : undefined,
    points: { show: false, filter: alone, size: 5 },
    value: (u, value) => (value === null || value === undefined ? "–" : unit(value)),
  }));
  return {
    width,
    height: HEIGHT,
    cursor: { y: false, drag: { x: false, y: false } },
    // Without a pointer the newest values stand there.
    hooks: { setLegend: [(u) => u.legend.idx === null && u.data[0].length > 0 && u.setLegend({ idx: u.data[0].length - 1 }, false)] },
    scales: { y: { range: (u, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
    axes: [
      { stroke: ink, grid: { show: false }, ticks: { ...grid, size: 4 }, font, size: 26, values: clock },
      { stroke: ink, grid, ticks: { show: false }, font, size: 58, values: (u, splits) => splits.map((value) => unit(value)) },
    ],
    series: [{ value: (u, value) => (value === null ? "–" : format.time(value * 1000)) }, ...series],
  };
}

// `times` in seconds; `lines` are {label, stroke, values}, `unit` turns a value into words.
export function Chart({ title, times, lines, unit, theme }) {
  const frame = useRef(null);
  const plot = useRef(null);
  const [failed, setFailed] = useState(false);
  const data = [times, ...lines.map((line) => line.values)];
  const shape = lines.map((line) => line.label).join() + theme;
  useEffect(() => {
    let gone = false;
    let look = null;
    const element = frame.current;
    load().then((uPlot) => {
      if (gone) return;
      const width = () => Math.max(220, Math.floor(element.clientWidth));
      plot.current = new uPlot(options(uPlot, width(), lines, unit), data, element);
      look = new ResizeObserver(() => plot.current?.setSize({ width: width(), height: HEIGHT }));
      look.observe(element);
    }, () => setFailed(true));
    return () => {
      gone = true;
      look?.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [shape]);
  useEffect(() => {
    plot.current?.setData(data);
  }, [times, lines]);
  const said = lines.map(({ label, values }) => {
    const known = values.filter((value) => value !== null && value !== undefined);
    return known.length ? `${label}: now ${unit(known[known.length - 1])}, most ${unit(Math.max(...known))}` : `${label}: nothing yet`;
  });
  return html`<figure class="chart">
    <figcaption>${title}</figcaption>
    <div ref=${frame} class="plot" role="img" aria-label=${`${title}. ${said.join("; ")}.`}></div>
    ${failed && html`<p class="quiet">The chart could not be drawn. ${said.join("; ")}.</p>`}
  </figure>`;
}
