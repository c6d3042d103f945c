// A long list of which only the visible rows exist: 10,000 rows cost as much as 40. Rows are of one height.
import { html, useEffect, useLayoutEffect, useRef, useState } from "./lib.js";

const SPARE = 12;

// `rows` newest first; `shift` counts the rows ever put in front, so that a reader who has scrolled keeps the place.
export function LongList({ rows, shift, height, label, columns, row }) {
  const frame = useRef(null);
  const [view, setView] = useState({ top: 0, height: 600 });
  const last = useRef(shift);
  useEffect(() => {
    const look = new ResizeObserver(([entry]) => setView((was) => ({ ...was, height: entry.contentRect.height })));
    look.observe(frame.current);
    return () => look.disconnect();
  }, []);
  useLayoutEffect(() => {
    const more = shift - last.current;
    last.current = shift;
    if (more > 0 && frame.current.scrollTop > 0) frame.current.scrollTop += more * height;
  }, [shift]);
  const scrolled = (event) => setView((was) => ({ ...was, top: event.target.scrollTop }));
  const from = Math.max(0, Math.floor(view.top / height) - SPARE);
  const to = Math.min(rows.length, Math.ceil((view.top + view.height) / height) + SPARE);
  return html`<div class="long" role="table" aria-label=${label} aria-rowcount=${rows.length + 1}>
    <div class="long-head" role="rowgroup"><div class="long-row" role="row" aria-rowindex="1">${columns.map(([key, name]) => html`<span role="columnheader" class=${`c-${key}`}>${name}</span>`)}</div></div>
    <div class="long-frame" ref=${frame} onScroll=${scrolled} role="rowgroup" tabindex="0" aria-label=${`${label}, rows`}>
      <div class="long-all" role="presentation" style=${{ height: `${rows.length * height}px` }}>
        ${rows.slice(from, to).map((it, n) => html`<div key=${it.id} class="long-row" role="row" aria-rowindex=${from + n + 2} style=${{ transform: `translateY(${(from + n) * height}px)`, height: `${height}px` }}>
          ${row(it).map((cell, c) => html`<span role="cell" class=${`c-${columns[c][0]}`}>${cell}</span>`)}
        </div>`)}
      </div>
    </div>
  </div>`;
}
