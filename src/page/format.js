// Times, spans, counts and sizes as people read them. Pure.

const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const WHOLE = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });

// In the browser's zone; the day only where it is another than today's.
export function time(at, now = new Date()) {
  const when = new Date(at);
  if (Number.isNaN(when.getTime())) return String(at);
  return when.toDateString() === now.toDateString() ? CLOCK.format(when) : `${DAY.format(when)} ${CLOCK.format(when)}`;
}

export function utc(at) {
  const when = new Date(at);
  return Number.isNaN(when.getTime()) ? String(at) : `${when.toISOString().replace("T", " ").replace("Z", "")} UTC`;
}

export function span(seconds) {
  const s = Math.max(0, seconds);
  if (s < 0.001) return `${Math.round(s * 1e6)} µs`;
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 10) return `${Number(s.toFixed(1))} s`;
  if (s < 90) return `${Math.round(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 172_800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86_400)} d`;
}

export function ago(at, now = Date.now()) {
  const seconds = (now - new Date(at).getTime()) / 1000;
  return seconds < 2 ? "just now" : `${span(seconds)} ago`;
}

// The same of what is to come.
export function until(at, now = Date.now()) {
  const seconds = (new Date(at).getTime() - now) / 1000;
  return seconds < 1 ? "now" : `in ${span(seconds)}`;
}

export const count = (n) => WHOLE.format(n ?? 0);
export const brief = (n) => (Math.abs(n ?? 0) < 10_000 ? WHOLE.format(n ?? 0) : SHORT.format(n));
export const many = (n, one, more = `${one}s`) => `${count(n)} ${n === 1 ? one : more}`;

export function rate(perSecond) {
  if (!perSecond) return "0/s";
  if (perSecond >= 100) return `${WHOLE.format(perSecond)}/s`;
  if (perSecond >= 1) return `${perSecond.toFixed(1)}/s`;
  const perMinute = perSecond * 60;
  return perMinute >= 0.95 ? `${perMinute.toFixed(0)}/min` : "< 1/min";
}

export function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  let left = n ?? 0;
  while (left >= 1024 && at < units.length - 1) {
    left /= 1024;
    at += 1;
  }
  return `${at && left < 10 ? left.toFixed(1) : Math.round(left)} ${units[at]}`;
}

export const shortId = (id) => String(id ?? "").split("-").slice(0, 5).join("-").slice(-8);

const UNITS = { s: 1, m: 60, min: 60, h: 3600, d: 86_400, w: 604_800 };

// What people write for a time, as RFC 3339: `1h` ago, `today`, `yesterday`, `2026-11-28`, `2026-11-28 09:00`, in the
// browser's zone, as times are shown. What is none of these stays, so that the daemon says what it takes.
export function when(text, now = new Date()) {
  const given = String(text ?? "").trim();
  const [, n, unit] = /^(\d+)\s*(s|m|min|h|d|w)$/.exec(given) ?? [];
  if (n) return new Date(now.getTime() - Number(n) * UNITS[unit] * 1000).toISOString();
  const day = new Date(now.getFullYear(), now.getMonth(), now.getDate() - (given === "yesterday" ? 1 : 0));
  if (given === "today" || given === "yesterday") return day.toISOString();
  const [, year, month, date, hour = 0, minute = 0, second = 0] = /^(\d{4})-(\d\d)-(\d\d)(?:[ T](\d\d):(\d\d)(?::(\d\d))?)?$/.exec(given) ?? [];
  if (year) return new Date(year, month - 1, date, hour, minute, second).toISOString();
  return given;
}

// A question with its times as the daemon takes them.
export const timed = (query) => Object.fromEntries(Object.entries(query).map(([key, value]) => [key, value && ["since", "until", "to"].includes(key) ? when(value) : value]));

// A code as words: `http_4xx` stays, `sink_down` becomes `sink down`.
export const words = (code) => String(code ?? "").replaceAll("_", " ");
