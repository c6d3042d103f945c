// Where the reader is: `#/room/rest?filters`. Links can be shared, and the browser's Back works.
import { useEffect, useState } from "./lib.js";

export function read(hash = location.hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [room, ...rest] = path.split("/");
  let inside = rest.join("/");
  try {
    inside = decodeURIComponent(inside);
  } catch {
    // A broken escape is looked for as it stands.
  }
  return { room: room || "overview", rest: inside, query: Object.fromEntries(new URLSearchParams(query)) };
}

export function link(room, rest = "", query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(given).toString();
  return `#/${room}${rest ? `/${encodeURIComponent(rest)}` : ""}${text ? `?${text}` : ""}`;
}

export const go = (room, rest, query) => {
  location.hash = link(room, rest, query);
};

export function useRoute() {
  const [route, setRoute] = useState(read());
  useEffect(() => {
    const moved = () => setRoute(read());
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  return route;
}
