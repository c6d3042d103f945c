// What differs between two texts, line by line (the longest common subsequence), with a few lines around each change.
// Pure.

const AROUND = 3;
// Beyond this many cells the middle is shown as wholly removed and wholly added.
const MOST_CELLS = 4_000_000;

function script(before, after) {
  let head = 0;
  while (head < before.length && head < after.length && before[head] === after[head]) head += 1;
  let tail = 0;
  while (tail < before.length - head && tail < after.length - head && before.at(-1 - tail) === after.at(-1 - tail)) tail += 1;
  const [a, b] = [before.slice(head, before.length - tail), after.slice(head, after.length - tail)];
  const same = (lines) => lines.map((text) => ({ sign: " ", text }));
  return [...same(before.slice(0, head)), ...middle(a, b), ...same(before.slice(before.length - tail))];
}

function middle(a, b) {
  const all = (lines, sign) => lines.map((text) => ({ sign, text }));
  if (a.length * b.length > MOST_CELLS) return [...all(a, "-"), ...all(b, "+")];
  const width = b.length + 1;
  const longest = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      longest[i * width + j] = a[i] === b[j] ? longest[(i + 1) * width + j + 1] + 1 : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
    }
  }
  const out = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      out.push({ sign: " ", text: a[i] });
      i += 1;
      j += 1;
    } else if (i < a.length && (j === b.length || longest[(i + 1) * width + j] >= longest[i * width + j + 1])) {
      out.push({ sign: "-", text: a[i] });
      i += 1;
    } else {
      out.push({ sign: "+", text: b[j] });
      j += 1;
    }
  }
  return out;
}

export function differences(before, after) {
  const lines = script(before.split("\n"), after.split("\n"));
  const near = lines.map(({ sign }, n) => sign !== " " || lines.slice(Math.max(0, n - AROUND), n + AROUND + 1).some((line) => line.sign !== " "));
  if (!lines.some(({ sign }) => sign !== " ")) return [];
  const out = [];
  let hidden = 0;
  lines.forEach((line, n) => {
    if (near[n]) {
      if (hidden) out.push({ sign: "…", text: `${hidden} lines as they are` });
      hidden = 0;
      out.push(line);
    } else {
      hidden += 1;
    }
  });
  if (hidden) out.push({ sign: "…", text: `${hidden} lines as they are` });
  return out;
}
