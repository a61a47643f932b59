"""The report's style sheet: one column, light or dark as the reader's system asks, and print."""

CSS = """
:root {
  color-scheme: light dark;
  --ground: #ffffff; --card: #f5f7f9; --line: #dfe3e8;
  --ink: #1c2127; --muted: #5a646f; --accent: #0b5c94;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --ground: #14181d; --card: #1d232a; --line: #343c46;
    --ink: #e7eaee; --muted: #9aa5b1; --accent: #7cc4f2;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 68rem;
  background: var(--ground); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 3rem 0 .5rem; padding-top: .75rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
p, figcaption { max-width: 44rem; }
p { margin: .5rem 0; }
a { color: var(--accent); }
.lead { font-size: 1.125rem; }
.note, figcaption { color: var(--muted); font-size: .9rem; }
nav ul { list-style: none; margin: 1rem 0 0; padding: 0; display: flex; flex-wrap: wrap;
  gap: .25rem 1.25rem; }
nav a { display: inline-block; padding: .25rem 0; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: .4rem;
  padding: .6rem .8rem; margin: .75rem 0; white-space: pre-wrap; overflow-wrap: anywhere; }
pre span { display: inline-block; max-width: 100%; }
pre, code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: .875rem; }
figure { margin: 1rem 0; }
img { display: block; max-width: 100%; }
img.dark { display: none; }
@media screen and (prefers-color-scheme: dark) {
  img.light { display: none; }
  img.dark { display: block; }
}
.cards, .charts, .tables { display: grid; gap: 1rem 1.5rem; }
.cards { grid-template-columns: repeat(auto-fit, minmax(min(15rem, 100%), 1fr)); gap: .75rem; }
.charts { grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr)); }
.tables { grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); }
.charts img { width: 100%; max-width: 34rem; }
.charts figure { margin: .5rem 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: .75rem 1rem; }
.card b { display: block; font-size: 1.75rem; font-weight: 600; line-height: 1.3;
  font-variant-numeric: tabular-nums; }
.card span { display: block; color: var(--muted); font-size: .875rem; }
.tiles { display: grid; gap: 4px; align-items: center; grid-auto-flow: column;
  grid-template-rows: auto repeat(var(--rows), auto); grid-auto-columns: minmax(0, 9.5rem);
  grid-template-columns: max-content; }
.tiles > div { font-size: .8125rem; line-height: 1.3; padding: .1rem .25rem .1rem 0; }
.tiles small { display: block; color: var(--muted); font-size: .75rem; }
.tiles img, .pixels { width: 100%; height: auto; image-rendering: pixelated; }
.tiles.kymograph { grid-auto-flow: row; grid-template-rows: none; max-width: 46rem;
  grid-template-columns: max-content repeat(var(--rows), minmax(0, 1fr)); }
.tiles.kymograph img { aspect-ratio: 1; }
.scales { display: flex; flex-wrap: wrap; gap: .5rem 2rem; margin: .75rem 0; }
.scale { display: grid; grid-template-columns: max-content 8rem max-content; gap: 0 .5rem;
  align-items: center; font-size: .8125rem; font-variant-numeric: tabular-nums; }
.scale div { white-space: nowrap; }
.scale img { width: 100%; height: .75rem; }
.scales small { color: var(--muted); font-size: .8125rem; }
.channels { display: grid; gap: 4px; align-items: center; font-size: .8125rem; line-height: 1.3;
  grid-template-columns: max-content repeat(var(--columns), minmax(0, 7rem)); }
.channels small { display: block; color: var(--muted); font-size: .75rem; }
.channels img, .cut img { width: 100%; height: auto; image-rendering: pixelated; }
.channels > div { padding-right: .25rem; }
.cut { display: grid; gap: 4px .5rem; align-items: center; font-size: .8125rem; max-width: 56rem;
  grid-template-columns: max-content minmax(0, 1fr); }
.cut img { height: 8rem; }
.axis { display: flex; justify-content: space-between; color: var(--muted); }
.film { display: flex; flex-wrap: wrap; gap: 1rem 1.5rem; align-items: end; }
.film img, .film video { border-radius: .5rem; display: block; max-width: 100%; }
.film video { width: 26rem; height: auto; }
.film .still { display: none; }
@media print, (prefers-reduced-motion: reduce) {
  .film .moving { display: none; }
  .film .still { display: block; }
}
.film figcaption { flex: 1 1 16rem; }
.equation { max-width: none; background: var(--card); border: 1px solid var(--line);
  border-radius: .5rem; padding: .75rem 1rem; line-height: 2;
  font-family: "STIX Two Text", "Cambria", "Times New Roman", serif; font-size: 1.15rem; }
.equation span { white-space: nowrap; }
.undetermined { color: var(--muted); text-decoration: underline dotted;
  text-underline-offset: .3em; }
.undetermined small { font-family: system-ui, sans-serif; font-size: .7em; }
sup { line-height: 0; font-size: .7em; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .25rem 0; }
th, td { text-align: right; padding: .3rem .5rem; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { font-weight: 500; color: var(--muted); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td small { display: block; color: var(--muted); white-space: nowrap; }
.runs th, .runs td { white-space: nowrap; }
.settings td { text-align: left; overflow-wrap: anywhere; }
.settings td:first-child { width: 40%; color: var(--muted); }
summary { cursor: pointer; padding: .4rem 0; }
@media screen and (max-width: 40rem) {
  body { padding: 1.25rem 1rem 3rem; }
  h1 { font-size: 1.4rem; }
  .tiles { grid-auto-flow: row; grid-template-rows: none;
    grid-template-columns: 6.2rem repeat(var(--rows), minmax(0, 1fr)); }
  .tiles small { font-size: .69rem; white-space: nowrap; }
  .tiles small span { display: none; }
  .channels { font-size: .75rem; }
  th, td { padding: .3rem .3rem; }
  table { font-size: .85rem; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  h2, h3, h4, caption { break-after: avoid; }
  h2 { margin-top: 1.5rem; }
  .tables .scroll { overflow: visible; }
  .tables table { font-size: 7.5pt; }
  .tables th, .tables td { padding: .15rem .25rem; }
  figure, .card, .equation, tr { break-inside: avoid; }
  .cards { grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); }
  .charts, .tables { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  table, .tiles, .cut, .channels { break-inside: avoid; }
  .settings { break-inside: auto; font-size: 7pt; }
  .settings td { padding: 0 .3rem; }
  details::details-content { content-visibility: visible; block-size: auto; }
  details .scroll { columns: 2; }
  video::-webkit-media-controls { display: none; }
}
"""
