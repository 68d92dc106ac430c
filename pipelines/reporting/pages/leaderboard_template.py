"""The fixed parts of the leaderboard page: its frame, style and script."""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
<h1>$title</h1>
<p>$caption</p>
<p class="filter"><label for="filter">Filter</label>
<input id="filter" type="search" placeholder="e.g. rmsprop chain3" autocomplete="off">
<output id="count" for="filter" aria-live="polite">$count of $count rows</output></p>
<div class="scroll" tabindex="0" role="region" aria-label="$title">
<table>
<thead><tr>$head</tr></thead>
<tbody>
$body
</tbody>
</table>
</div>
<p class="small">$legend</p>
<p class="small">$scale_note</p>
<div class="small">$notes</div>
</main>
<script>$script</script>
</body>
</html>
"""

STYLE = """
:root {
  --ground: #ffffff; --ink: #1d2433; --soft: #566074; --line: #d9dee7; --head: #f3f5f9; --hover: #eaf1fb;
  --link: #0a58ca; --word: #8a4600; --best: #00623f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #12161e; --ink: #e4e8f0; --soft: #a3adbf; --line: #2d3545; --head: #1b212d; --hover: #1f2a3d;
    --link: #7fb2ff; --word: #ffb566; --best: #5fd6a4;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 96rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1rem; margin: 1.5rem 0 .25rem; }
p { max-width: 64rem; margin: .5rem 0; }
a { color: var(--link); }
.small { font-size: .875rem; color: var(--soft); }
.small ol { margin: .25rem 0; padding-left: 1.5rem; }
.filter { display: flex; flex-wrap: wrap; align-items: center; gap: .6rem; margin: 1.25rem 0 .75rem; }
.filter label { font-weight: 600; }
.filter input {
  font: inherit; padding: .35rem .6rem; min-width: 16rem; color: inherit; background: var(--ground);
  border: 1px solid var(--soft); border-radius: .4rem;
}
.filter output { color: var(--soft); font-size: .875rem; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th {
  background: var(--head); text-align: left; vertical-align: bottom; padding: 0;
  border-bottom: 1px solid var(--line);
}
th button {
  font: inherit; font-weight: 600; color: inherit; background: none; border: 0; cursor: pointer; width: 100%;
  padding: .55rem .75rem; text-align: inherit;
}
th button::after { content: "\\2195"; opacity: .35; margin-left: .35em; }
th[aria-sort="ascending"] button::after { content: "\\2191"; opacity: 1; }
th[aria-sort="descending"] button::after { content: "\\2193"; opacity: 1; }
td { padding: .4rem .75rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
tbody tr:last-child td { border-bottom: 0; }
tbody tr:hover td { background: var(--hover); }
.number { text-align: right; }
sup { line-height: 0; }
.interval, td.paper { color: var(--soft); }
.interval { font-size: .8rem; }
strong { color: var(--best); }
tr.below td { color: var(--soft); }
.word {
  color: var(--word); font-size: .75rem; padding: .05rem .45rem;
  border: 1px solid currentColor; border-radius: .7rem;
}
:focus-visible { outline: 2px solid var(--link); outline-offset: -2px; }
[hidden] { display: none; }
@media (max-width: 100rem) {
  .interval { display: block; line-height: 1.2; }
  th button, td { padding-inline: .6rem; }
}
"""

SCRIPT = """
"use strict";
const body = document.querySelector("tbody");
const headers = Array.from(document.querySelectorAll("thead th"));
const rows = Array.from(body.rows);

function keyOf(row, index) {
  const cell = row.cells[index];
  if (!("value" in cell.dataset)) return cell.textContent.trim();
  return cell.dataset.value === "" ? null : Number(cell.dataset.value);
}

function compare(a, b) {
  return typeof a === "number" ? a - b : a.localeCompare(b, "en", {numeric: true});
}

function sortBy(index, direction) {
  const sorted = rows.slice().sort((first, second) => {
    const a = keyOf(first, index), b = keyOf(second, index);
    if (a === null || b === null) return (a === null) - (b === null);
    return direction * compare(a, b);
  });
  body.append(...sorted);
}

headers.forEach((header, index) => header.querySelector("button").addEventListener("click", () => {
  const direction = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  headers.forEach(other => other.setAttribute("aria-sort", "none"));
  header.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
  sortBy(index, direction);
}));

const filter = document.getElementById("filter");
function applyFilter() {
  const words = filter.value.toLowerCase().split(/\\s+/).filter(Boolean);
  let shown = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every(word => text.includes(word));
    shown += row.hidden ? 0 : 1;
  }
  document.getElementById("count").value = `${shown} of ${rows.length} rows`;
}
filter.addEventListener("input", applyFilter);
"""
