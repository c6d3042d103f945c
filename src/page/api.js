// Asks the daemon. What goes wrong becomes a `Failure`, whose message is for people.
import { useCallback, useEffect, useRef, useState } from "./lib.js";

const PATIENCE_MS = 35_000;
// How soon a question that did not reach the daemon is asked again.
export const AGAIN_MS = 3000;

export class Failure extends Error {
  constructor(status, text) {
    super(text);
    // 0: the daemon was not reached.
    this.status = status;
  }
}

let onSignedOut = () => {};
// Who is told when the session is gone.
export const whenSignedOut = (tell) => (onSignedOut = tell);

export function url(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(given.map(([key, value]) => [key, String(value)])).toString();
  return text ? `${path}?${text}` : path;
}

// The answer as an object, and as the text it came in: JSON numbers and bodies are shown as they were sent.
// `json`: a body that is JSON text already.
export async function ask(method, path, { query, body, json, signal } = {}) {
  const init = { method, credentials: "same-origin", cache: "no-store", headers: { accept: "application/json" } };
  const sent = json ?? (body === undefined ? undefined : JSON.stringify(body));
  if (sent !== undefined) {
    init.headers["content-type"] = "application/json";
    init.body = sent;
  }
  const late = AbortSignal.timeout(PATIENCE_MS);
  init.signal = signal ? AbortSignal.any([signal, late]) : late;
  let answer, text;
  try {
    answer = await fetch(url(path, query), init);
    text = await answer.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Failure(0, "The daemon does not answer. It may be stopped, or the way to it is cut.");
  }
  let data = null;
  try {
    data = text ? JSON.parse(text) : null;
  } catch {
    // Not JSON: the status has to do.
  }
  if (!answer.ok) {
    if (answer.status === 401 && path !== "/api/login") onSignedOut();
    throw new Failure(answer.status, data?.error ?? `The daemon answered ${answer.status}.`);
  }
  return { data, text };
}

// An answer that is not JSON.
export async function askText(path, signal) {
  const answer = await fetch(path, { credentials: "same-origin", cache: "no-store", signal });
  if (!answer.ok) throw new Failure(answer.status, `The daemon answered ${answer.status}.`);
  return answer.text();
}

export const get = async (path, query) => (await ask("GET", path, { query })).data;
export const post = async (path, body = {}) => (await ask("POST", path, { body })).data;

// Asks, and asks again `every` so many milliseconds while the page is looked at. What was known stays while a new
// answer is under way, and when it fails; where the daemon was not reached, it is asked again. `path` null: nothing is asked.
export function useAnswer(path, query, every = 0) {
  const key = path === null ? null : url(path, query);
  const [state, setState] = useState({ key, data: null, text: "", failure: null, at: 0, isLoading: true });
  const [turn, setTurn] = useState(0);
  const asked = useRef(null);
  useEffect(() => {
    if (key === null) {
      setState({ key, data: null, text: "", failure: null, at: 0, isLoading: false });
      return;
    }
    const stop = new AbortController();
    let timer = 0;
    let isCut = false;
    if (asked.current !== key) setState({ key, data: null, text: "", failure: null, at: 0, isLoading: true });
    asked.current = key;
    const once = async () => {
      if (!document.hidden) {
        try {
          const { data, text } = await ask("GET", key, { signal: stop.signal });
          setState({ key, data, text, failure: null, at: Date.now(), isLoading: false });
          isCut = false;
        } catch (failure) {
          if (stop.signal.aborted) return;
          setState((was) => ({ ...was, key, failure, isLoading: false }));
          isCut = failure.status === 0;
        }
      }
      const pause = every || (isCut && AGAIN_MS);
      if (pause && !stop.signal.aborted) timer = setTimeout(once, pause);
    };
    const seen = () => {
      if ((every || isCut) && !document.hidden) {
        clearTimeout(timer);
        once();
      }
    };
    document.addEventListener("visibilitychange", seen);
    once();
    return () => {
      stop.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    };
  }, [key, every, turn]);
  const again = useCallback(() => setTurn((n) => n + 1), []);
  // Of another question nothing is shown, not even for a moment.
  const own = state.key === key ? state : { data: null, text: "", failure: null, at: 0, isLoading: key !== null };
  return { ...own, again };
}
