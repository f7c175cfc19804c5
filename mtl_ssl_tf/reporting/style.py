"""The page's style, after that of all pages."""

CSS = """
:root { --c0: #1b66c9; --c1: #c05600; --c2: #14773a; --c3: #8a3ab0; }
@media (prefers-color-scheme: dark) {
  :root { --c0: #74aefc; --c1: #ffa052; --c2: #5fce8c; --c3: #d69aff; } }
nav { display: flex; flex-wrap: wrap; gap: 0.2rem 1rem; margin: 1rem 0; }
nav a { padding: 0.3rem 0; }
a { color: var(--accent); }
.lead { color: var(--faint); max-width: 46rem; } .lead b { color: var(--ink); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(9.5rem, 100%), 1fr));
  gap: 0.7rem; margin: 1rem 0; padding: 0; }
.tiles div { background: var(--panel); border-radius: 0.5rem; padding: 0.6rem 0.8rem; }
.tiles dt { color: var(--faint); font-size: 0.85rem; }
.tiles dd { margin: 0; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.tiles .small dd { font-size: 1rem; }
.charts { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(17rem, 100%), 1fr)); }
.chart { margin: 0; max-width: 26rem; } .chart svg { display: block; width: 100%; height: auto; }
.chart text { font: 11px system-ui, sans-serif; fill: var(--faint); }
.chart .middle { text-anchor: middle; } .chart .end { text-anchor: end; }
.chart .grid { stroke: var(--line); stroke-width: 1; }
.chart .area { fill: var(--c0); fill-opacity: 0.25; }
.chart .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.chart .line.dashed { stroke-dasharray: 5 4; }
.line.c0 { stroke: var(--c0); } .line.c1 { stroke: var(--c1); }
.line.c2 { stroke: var(--c2); } .line.c3 { stroke: var(--c3); }
.dot.c0 { fill: var(--c0); } .dot.c1 { fill: var(--c1); }
.dot.c2 { fill: var(--c2); } .dot.c3 { fill: var(--c3); }
.chart .mark { fill: var(--paper); stroke: var(--c1); stroke-width: 2.5; }
figcaption { font-size: 0.9rem; padding: 0.2rem 0 0 0.3rem; }
.key { display: inline-block; margin-left: 0.9rem; color: var(--faint); }
.key::before { content: ""; display: inline-block; width: 1.2rem; margin-right: 0.3rem;
  vertical-align: middle; border-top: 3px solid; }
.key.dashed::before { border-top-style: dashed; }
.key.c0::before { border-color: var(--c0); } .key.c1::before { border-color: var(--c1); }
.key.c2::before { border-color: var(--c2); } .key.c3::before { border-color: var(--c3); }
.controls { display: flex; flex-wrap: wrap; gap: 0.6rem 1.2rem; align-items: end;
  margin: 1rem 0 0.5rem; }
.controls[hidden] { display: none; }
.controls label { display: grid; gap: 0.15rem; color: var(--faint); font-size: 0.85rem; }
.controls output { color: var(--faint); padding-bottom: 0.45rem; }
input, select { font: inherit; font-size: 1rem; color: var(--ink); background: var(--paper);
  border: 1px solid var(--faint); border-radius: 0.3rem; padding: 0.35rem 0.5rem; max-width: 100%; }
th button { font: inherit; font-weight: bold; color: inherit; background: none; border: 0;
  padding: 0.25rem 0; cursor: pointer; text-align: inherit; white-space: nowrap; }
th button::after { content: "\\2195"; color: var(--faint); font-weight: normal;
  margin-left: 0.25rem; }
th[aria-sort=ascending] button::after { content: "\\2191"; color: var(--accent); }
th[aria-sort=descending] button::after { content: "\\2193"; color: var(--accent); }
details { margin: 1rem 0; } summary { cursor: pointer; color: var(--accent); padding: 0.3rem 0; }
.sortable :is(td, th):first-child, .confusion th[scope=row] { position: sticky; left: 0;
  max-width: 40vw; white-space: normal; overflow-wrap: break-word; background: var(--paper); }
.beside { display: flex; flex-wrap: wrap; gap: 0 2rem; align-items: start; }
.beside .chart { flex: 1 1 17rem; } .beside .wide { min-width: 0; }
.confusion td { text-align: right; padding: 0.3rem 0.6rem; font-variant-numeric: tabular-nums;
  background: rgb(27 102 201 / calc(var(--share) * 0.65)); }
.confusion th { padding: 0.3rem 0.6rem; white-space: nowrap; }
.cards { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr)); }
.card { background: var(--panel); border-radius: 0.5rem; padding: 0.6rem; min-width: 0; }
.card[hidden] { display: none; }
.card img { display: block; width: 100%; height: auto; border-radius: 0.3rem; }
.card p { margin: 0.4rem 0 0; font-size: 0.9rem; }
.card h3 { margin: 0.3rem 0; font-size: 0.95rem; }
.pair { display: grid; gap: 0.6rem; margin-top: 0.4rem;
  grid-template-columns: repeat(auto-fit, minmax(min(15rem, 100%), 1fr)); }
.pairs { grid-template-columns: repeat(auto-fill, minmax(min(34rem, 100%), 1fr)); }
.none { color: var(--faint); padding: 3rem 0; text-align: center; }
.legend span { display: inline-block; margin-right: 1.2rem; }
.legend i { display: inline-block; width: 1.6rem; height: 0.9rem; margin-right: 0.35rem;
  vertical-align: middle; background: #444; border: 3px solid; }
.legend .given { border-style: dashed; border-color: #fff; }
.legend .missed { border-style: dashed; border-color: #ffd600; }
.legend .found { border-color: #46dc82; } .legend .wrong { border-color: #ff5a50; }
.good { color: var(--good); } .bad { color: var(--bad); }
"""
