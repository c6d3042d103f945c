// The libraries, under one roof.
import { h } from "./preact.mjs";
import htm from "./htm.mjs";

export { render, Component } from "./preact.mjs";
export { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./hooks.mjs";
export const html = htm.bind(h);
