"""How the pages look: one style sheet for both widths, light and dark."""

from typing import Final

STYLE: Final = """
:root { --page: #f4f6f8; --card: #ffffff; --ink: #1b2330; --soft: #566070; --line: #d5dae1;
  --accent: #1a5fb4; --good: #1f7a45; --warn: #8a5a00; --bad: #a51d2d; }
body.body--dark { --page: #12161c; --card: #1b222c; --ink: #e6eaf0; --soft: #a6b0be;
  --line: #3b4452; --accent: #78aeed; --good: #6fcf97; --warn: #f2c14e; --bad: #ff8f97; }
body { background: var(--page) !important; color: var(--ink);
  font-family: system-ui, Roboto, sans-serif; font-size: 15px; line-height: 1.5; }
.nicegui-content { padding: 0; gap: 0; width: 100%; align-items: stretch; display: block; }
.bar { display: flex; flex-wrap: wrap; align-items: center; gap: .25rem 1.5rem;
  padding: .5rem clamp(.75rem, 3vw, 2rem); background: var(--card);
  border-bottom: 1px solid var(--line); position: sticky; top: 0; z-index: 10; }
.brand { font-weight: 700; font-size: 1.1rem; }
.links { display: flex; gap: .25rem; }
.link { color: var(--ink) !important; text-decoration: none !important; padding: .35rem .7rem;
  border-radius: 8px; }
.link:hover, .link:focus-visible { background: var(--page); }
.link-active { background: var(--page); color: var(--accent) !important; font-weight: 600; }
.who { display: flex; align-items: center; gap: .5rem; margin-left: auto; }
.who-name { overflow-wrap: anywhere; }
@media (max-width: 700px) { .bar { position: static; } .links { order: 3; width: 100%; } }
.body { max-width: 1200px; margin: 0 auto; padding: 1.25rem clamp(.75rem, 3vw, 2rem) 4rem;
  box-sizing: border-box; }
.title { font-size: 1.6rem; font-weight: 700; overflow-wrap: anywhere; }
.subtitle { font-size: 1.15rem; font-weight: 650; overflow-wrap: anywhere; }
.section { margin-top: 2rem; }
.soft { color: var(--soft); }
.box { margin-top: .75rem; }
.note { padding: .75rem 1rem; border: 1px dashed var(--line); border-radius: 10px; }
.cards { display: grid; gap: .75rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 320px), 1fr)); }
.card, .q-card.card { background: var(--card) !important; color: var(--ink) !important;
  border: 1px solid var(--line);
  border-radius: 12px; padding: 1rem; box-shadow: none !important; display: block;
  overflow-wrap: anywhere; min-width: 0; }
.card + .card { margin-top: 0; }
.stack { display: grid; gap: .75rem; }
.name { font-weight: 650; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; }
.quoted { white-space: pre-wrap; overflow-wrap: anywhere; border-left: 3px solid var(--line);
  padding: .25rem .75rem; margin: .5rem 0; max-height: 12rem; overflow-y: auto; }
.pair { display: grid; gap: .25rem 1.25rem; grid-template-columns: 1fr 1fr; margin: .5rem 0; }
@media (max-width: 700px) { .pair { grid-template-columns: 1fr; } }
.facts { display: flex; flex-wrap: wrap; gap: .5rem 2rem; margin: .25rem 0; }
.fact .soft { font-size: .85rem; }
.value { font-weight: 600; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.row { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; }
.row-end { display: flex; flex-wrap: wrap; gap: .5rem; justify-content: flex-end;
  margin-top: 1rem; }
.question { max-width: 34rem; width: 100%; }
.question .soft { margin-top: .5rem; }
.reason { width: 100%; margin-top: .75rem; }
.state { display: inline-block; padding: .05rem .6rem; border-radius: 99px; font-size: .85rem;
  font-weight: 600; border: 1px solid currentColor; }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); }
.score { font-size: 2.4rem; font-weight: 700; line-height: 1.1; }
.curve line, .curve polyline { vector-effect: non-scaling-stroke; }
.curve { width: 100%; height: auto; max-height: 10rem; display: block; }
.curve-base { stroke: var(--line); stroke-width: 1; }
.curve-goal { stroke: var(--good); stroke-width: 1.5; stroke-dasharray: 5 4; }
.curve-line { fill: none; stroke: var(--accent); stroke-width: 2; stroke-linejoin: round; }
.curve-end { fill: var(--accent); }
.q-btn { border-radius: 8px; }
.q-btn.action { margin: .25rem 0 0; padding: .2rem .9rem; }
.q-btn.plain { color: var(--accent); }
.q-btn.action.plain { border: 1px solid currentColor; }
.q-btn.strong { background: var(--accent); color: var(--card); }
.stack + .q-btn, .stack + div { margin-top: .75rem; }
.nicegui-expansion .q-item { padding-left: 0; }
a { color: var(--accent); overflow-wrap: anywhere; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
"""
