// How fast sinks are: from counts that only grow, seen twice.
import { useEffect, useRef, useState } from "./lib.js";
import { askText } from "./api.js";

const SAMPLES = 16;

// Deliveries a second of each sink, from the counts of the last half minute.
export function useRates(answer) {
  const samples = useRef([]);
  const { data, at } = answer;
  if (data && samples.current.at(-1)?.at !== at) {
    const delivered = Object.fromEntries(Object.entries(data.sinks).map(([name, sink]) => [name, sink.delivered]));
    samples.current = [...samples.current.slice(1 - SAMPLES), { at, delivered }];
  }
  const [first, last] = [samples.current[0], samples.current.at(-1)];
  return (name) => {
    const took = (last?.at - first?.at) / 1000;
    const more = (last?.delivered[name] ?? 0) - (first?.delivered[name] ?? last?.delivered[name] ?? 0);
    return took > 0 ? Math.max(0, more / took) : null;
  };
}

const METRICS_EVERY = 5000;
const BATCH = /^hookrelay_batch_seconds_(sum|count)\{sink="((?:[^"\\]|\\.)*)"\} (\S+)/gm;

function batches(text) {
  const found = {};
  for (const [, what, sink, value] of text.matchAll(BATCH)) (found[sink] ??= {})[what] = Number(value);
  return found;
}

// How long a call of each sink takes, in seconds: of those since this was first asked, or, until there are some, of
// all since the daemon's start.
export function useLatencies() {
  const first = useRef(null);
  const [last, setLast] = useState(null);
  useEffect(() => {
    const stop = new AbortController();
    const look = async () => {
      if (document.hidden) return;
      // Without them the room shows all the rest.
      const text = await askText("/metrics", stop.signal).catch(() => null);
      if (text === null || stop.signal.aborted) return;
      const now = batches(text);
      first.current ??= now;
      setLast(now);
    };
    look();
    const timer = setInterval(look, METRICS_EVERY);
    return () => {
      stop.abort();
      clearInterval(timer);
    };
  }, []);
  return (sink) => {
    const [then, now] = [first.current?.[sink], last?.[sink]];
    if (!now?.count) return null;
    const fresh = now.count - (then?.count ?? 0);
    return fresh > 0 ? (now.sum - (then?.sum ?? 0)) / fresh : now.sum / now.count;
  };
}
