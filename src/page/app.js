// The page: who is signed in, which room is shown, and what stands around every room.
import { html, render, useCallback, useEffect, useRef, useState } from "./lib.js";
import { Failure, ask, useAnswer, whenSignedOut } from "./api.js";
import { Badge, Empty, Loading, News, Questions } from "./parts.js";
import { go, link, useRoute } from "./route.js";
import * as format from "./format.js";
import { useRates } from "./rates.js";
import { Overview } from "./overview.js";

// The other rooms are fetched when they are entered.
const ROOMS = [
  { key: "overview", name: "Overview", load: async () => Overview },
  { key: "events", name: "Events", load: async () => (await import("./events.js")).Events },
  { key: "messages", name: "Messages", load: async () => (await import("./messages.js")).Messages },
  { key: "dead", name: "Dead letters", load: async () => (await import("./dead.js")).DeadLetters },
  { key: "sinks", name: "Sinks", load: async () => (await import("./sinks.js")).Sinks },
  { key: "rules", name: "Rules", load: async () => (await import("./rules.js")).Rules },
];
const STATUS_EVERY = 2000;
const CONFIG_EVERY = 5000;

function Login({ onDone, isEnded }) {
  const [failure, setFailure] = useState("");
  const [isBusy, setBusy] = useState(false);
  useEffect(() => {
    document.title = "Log in · hookrelay";
  }, []);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    setFailure("");
    try {
      await ask("POST", "/api/login", { body: { token: new FormData(event.target).get("token") } });
      onDone();
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      setFailure(error.status === 401 ? "This is not the token." : error.message);
      setBusy(false);
    }
  };
  return html`<main class="login">
    <form class="panel" onSubmit=${submit}>
      <h1><img src="/page/icon.svg" alt="" width="28" height="28" /> hookrelay</h1>
      <input name="username" autocomplete="username" value="hookrelay" hidden readonly />
      <label class="field"><span>Token</span><input name="token" type="password" required autofocus autocomplete="current-password" aria-describedby="token-help token-failure" /></label>
      ${isEnded && html`<p class="stale" role="status">▲ The session has ended: sessions end with the daemon, which was started anew, or by Log out elsewhere.</p>`}
      <p id="token-failure" class="failure" role="alert">${failure && html`<span aria-hidden="true">■ </span>${failure}`}</p>
      <button class="main" disabled=${isBusy}>Log in</button>
      <p id="token-help" class="quiet">It is the <code>token</code> of <code>[admin]</code> in config.toml.</p>
    </form>
  </main>`;
}

const THEMES = ["system", "light", "dark"];
const THEME_NAMES = { system: "System", light: "Light", dark: "Dark" };

function useTheme() {
  const [theme, setTheme] = useState(document.documentElement.dataset.theme ?? "system");
  const [isDark, setDark] = useState(matchMedia("(prefers-color-scheme: dark)").matches);
  useEffect(() => {
    const media = matchMedia("(prefers-color-scheme: dark)");
    const changed = () => setDark(media.matches);
    media.addEventListener("change", changed);
    return () => media.removeEventListener("change", changed);
  }, []);
  const choose = (next) => {
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem("theme", next);
    } catch {
      // It holds until the page is left.
    }
    setTheme(next);
  };
  return { theme, choose, shown: theme === "system" ? (isDark ? "dark" : "light") : theme };
}

function Search() {
  const submit = (event) => {
    event.preventDefault();
    const field = event.target.elements.q;
    if (field.value.trim()) go("messages", field.value.trim());
    field.value = "";
  };
  return html`<form class="search" role="search" onSubmit=${submit}>
    <label class="hidden" for="search">Search by message id, event id, delivery id or phone</label>
    <input id="search" name="q" type="search" placeholder="Message id, event id or phone" autocomplete="off" spellcheck=${false} />
  </form>`;
}

const STATES = { ready: ["ok", "ready"], degraded: ["warn", "degraded"], stopping: ["bad", "stopping"] };

function StateBadge({ answer }) {
  if (answer.failure) return html`<${Badge} kind="bad">offline<//>`;
  const [kind, text] = STATES[answer.data?.state] ?? ["quiet", "…"];
  return html`<${Badge} kind=${kind}>${text}<//>`;
}

function Nav({ current, status }) {
  const dead = Object.values(status?.sinks ?? {}).reduce((sum, sink) => sum + sink.dead, 0);
  const sick = Object.values(status?.sinks ?? {}).filter((sink) => sink.state === "down").length;
  const notes = { dead: dead && format.brief(dead), sinks: sick && `${sick} down` };
  return html`<nav aria-label="Rooms"><ul>
    ${ROOMS.map(({ key, name }) => html`<li key=${key}><a href=${link(key)} aria-current=${key === current ? "page" : undefined}>
      ${name}${notes[key] ? html` <span class=${`note ${key === "sinks" ? "bad" : "warn"}`}>${notes[key]}</span>` : null}
    </a></li>`)}
  </ul></nav>`;
}

// The config changes with a reload, which the status tells; in Rules the file is looked at, too.
function useConfig(status, isLookedAt) {
  const config = useAnswer("/api/config", {}, isLookedAt ? CONFIG_EVERY : 0);
  const stamp = status.data && JSON.stringify([status.data.started, status.data.config]);
  const last = useRef(null);
  useEffect(() => {
    if (last.current && stamp && last.current !== stamp) config.again();
    last.current = stamp ?? last.current;
  }, [stamp]);
  return config;
}

const titleOf = (room, { rest }) => (rest && room.key !== "messages" ? `${room.name}: ${rest.length > 20 ? format.shortId(rest) : rest}` : room.name);

function Shell({ onLogout }) {
  const route = useRoute();
  const theme = useTheme();
  const status = useAnswer("/api/status", {}, STATUS_EVERY);
  const config = useConfig(status, route.room === "rules");
  const rateOf = useRates(status);
  const heading = useRef(null);
  const first = useRef(true);
  const known = ROOMS.find(({ key }) => key === route.room);
  const room = known ?? ROOMS[0];
  const isOffline = status.failure !== null;
  const [loaded, setLoaded] = useState({ key: "overview", Room: Overview });
  useEffect(() => {
    let gone = false;
    if (loaded.key === room.key && loaded.Room) return undefined;
    room.load().then((Room) => !gone && setLoaded({ key: room.key, Room }), () => !gone && setLoaded({ key: room.key, Room: null }));
    return () => {
      gone = true;
    };
    // One that could not be loaded is, once the daemon answers.
  }, [room.key, isOffline]);
  useEffect(() => {
    if (!first.current) heading.current?.focus();
    first.current = false;
  }, [room.key]);
  useEffect(() => {
    document.title = `${known ? titleOf(room, route) : "No such room"} · hookrelay`;
  }, [room.key, route.rest, known === undefined]);
  const readOnly = config.data?.read_only ?? false;
  const Room = loaded.key === room.key ? loaded.Room : undefined;
  return html`
    <a class="skip" href="#main" onClick=${(event) => {
      event.preventDefault();
      heading.current?.focus();
    }}>Skip to the room</a>
    <header>
      <a class="brand" href=${link("overview")} aria-label="hookrelay, Overview"><img src="/page/icon.svg" alt="" width="24" height="24" /><span>hookrelay</span></a>
      <${StateBadge} answer=${status} />
      <${Search} />
      <div class="header-end">
        <label class="theme"><span class="hidden">Theme</span><select title="Theme" value=${theme.theme} onChange=${(event) => theme.choose(event.target.value)}>
          ${THEMES.map((key) => html`<option value=${key} selected=${key === theme.theme}>${THEME_NAMES[key]}</option>`)}
        </select></label>
        <button type="button" class="plain" onClick=${onLogout}>Log out</button>
      </div>
    </header>
    <${Nav} current=${known?.key} status=${status.data} />
    <main id="main">
      <h1 tabindex="-1" ref=${heading}>${known ? room.name : "No such room"}</h1>
      ${status.failure && status.data && html`<p class="stale" role="alert">▲ Offline. What you see is as of ${format.time(status.at)}. ${status.failure.message}</p>`}
      ${readOnly && html`<p class="stale">○ Read-only: [admin] read_only is set, and buttons that change something are off.</p>`}
      ${!known && html`<section class="panel"><${Empty} title=${`There is no room “${route.room}”`}>The address may be mistyped. <a href=${link("overview")}>Overview</a> is the first room.<//></section>`}
      ${known && Room === undefined && html`<${Loading} />`}
      ${known && Room === null && html`<p class="state problem" role="alert">This room could not be loaded. It is tried again once the daemon answers.</p>`}
      ${known && Room && html`<${Room} key=${room.key} route=${route} status=${status} rateOf=${rateOf} config=${config} readOnly=${readOnly} theme=${theme.shown} />`}
    </main>`;
}

function App() {
  const [isIn, setIn] = useState(null);
  const [isEnded, setEnded] = useState(false);
  useEffect(() => {
    whenSignedOut(() => setIn((was) => {
      if (was === true) setEnded(true);
      return false;
    }));
    // Without a token, as over a Unix socket, everybody who comes is in.
    ask("GET", "/api/status").then(() => setIn(true), (failure) => setIn(failure.status !== 401));
  }, []);
  const logout = useCallback(async () => {
    await ask("POST", "/api/logout", { body: {} }).catch(() => {});
    setIn(false);
  }, []);
  return html`
    ${isIn === null && html`<${Loading} />`}
    ${isIn === false && html`<${Login} isEnded=${isEnded} onDone=${() => {
      setEnded(false);
      setIn(true);
    }} />`}
    ${isIn && html`<${Shell} onLogout=${logout} />`}
    <${Questions} /><${News} />`;
}

document.getElementById("app").textContent = "";
render(html`<${App} />`, document.getElementById("app"));
