"""Job: a what-if as one HTML file: the table, how far to trust it, and the power of every gun over the day, twice.

Thread: any. Lock: none. Units: kW, kWh, s of the day. The file needs nothing else: no script, no library, no network.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from html import escape

from simulator.replay_report import WHAT_IF_HEAD, Compared, difference_lines, what_if_rows, what_if_sentences
from simulator.replay_sums import PIECE_S, GunSum, clock

WIDTH, HEIGHT = 1440.0, 200.0
#: The scale ends at a multiple of this, and has so many lines.
STEP_KW, LINES = 40.0, 4
#: Minutes between the words below a plot: the finest that gives so many of them at the most.
MINUTE_STEPS, MOST_WORDS = (5, 10, 15, 30, 60, 120, 180, 240), 9

STYLE = """
:root{color-scheme:light dark;--ink:#1b2430;--soft:#566373;--paper:#fff;--line:#d5dbe3;
--was:#a9bcd3;--edge:#5f7ea3;--now:#b3400e}
@media (prefers-color-scheme:dark){:root{--ink:#e8edf3;--soft:#a7b3c1;--paper:#12171d;--line:#333d49;
--was:#3c546f;--edge:#88a9cf;--now:#ffa15c}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:76rem;padding:1.25rem;background:var(--paper);color:var(--ink);
font:1rem/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 .25rem}h2{font-size:1.15rem;margin:2rem 0 .5rem}
h3{font-size:1rem;margin:1.5rem 0 .25rem}
p,li{max-width:46rem}.soft{color:var(--soft)}code{font-size:.95em;overflow-wrap:anywhere}
.wide{overflow-x:auto}.wide:focus-visible{outline:2px solid var(--now);outline-offset:2px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;white-space:nowrap}
th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid var(--line)}th{font-weight:600}
th:first-child{text-align:left}
thead tr:first-child th{border-bottom:0;text-align:center;color:var(--soft);font-weight:400}
tbody tr:last-child>*{font-weight:600;border-top:2px solid var(--soft);border-bottom:0}
.group{border-left:1px solid var(--line)}
.sum{font-size:1.15rem;font-weight:600;margin:1rem 0 0}
.key{display:flex;flex-wrap:wrap;gap:.25rem 1.5rem;margin:.5rem 0;padding:0;list-style:none}
.key svg{width:2rem;height:.9rem;vertical-align:-.1em;margin-right:.4rem}
figure{margin:0 0 1rem}figcaption{font-weight:600;margin-bottom:.6rem}figcaption span{font-weight:400;color:var(--soft)}
.plot{display:grid;grid-template-columns:2.6rem 1fr;column-gap:.4rem}
.scale{display:flex;flex-direction:column;justify-content:space-between;text-align:right;margin:-.6em 0;
height:calc(9rem + 1.2em)}
.scale,.hours{font-size:.8rem;line-height:1.2em;color:var(--soft)}
.plot>svg{display:block;width:100%;height:9rem;overflow:visible}
.hours{grid-column:2;position:relative;height:1.4em;margin-top:.2rem}
.hours span{position:absolute;transform:translateX(-50%)}.hours span:first-child{transform:none}
.hours span:last-child{transform:translateX(-100%)}
.rule{stroke:var(--line);stroke-width:1}.was{fill:var(--was);stroke:var(--edge);stroke-width:1}
.now{fill:none;stroke:var(--now);stroke-width:1.75}
path,line{vector-effect:non-scaling-stroke}
@media print{figure,table{break-inside:avoid}}
"""


def page(compared: Compared, proof: Iterable[str]) -> str:
    """The whole file. `proof`: how far the record is proven, in sentences."""
    guns = sorted(compared.model.guns)
    span_s = _span_s(compared)
    plots = [_figure("Station", compared.model.station, compared.other.station, span_s)]
    plots += [_figure(f"Gun {gun}", compared.model.guns[gun], compared.other.guns[gun], span_s) for gun in guns]
    title = f"What if: {compared.otherwise.words()}"
    first, *rest = difference_lines(compared)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>What if: <code>{escape(compared.otherwise.words())}</code></h1>\n"
        f'<p class="soft">{escape(compared.title)}</p>\n'
        f'<p class="sum">{escape(_sum(compared))}</p>\n'
        f"<h2>Gun by gun</h2>\n{_table(compared)}"
        f"<h2>How far this may be trusted</h2>\n<ul>{_items(what_if_sentences(compared))}</ul>\n"
        f"<h2>Where it differs most</h2>\n<p>{escape(first)}</p>\n"
        + (f"<ul>{_items(line.strip() for line in rest)}</ul>\n" if rest else "")
        + f"<h2>Power over the day</h2>\n<p class=\"soft\">Means of a minute. Hours are UTC.</p>\n{_key()}"
        + "".join(plots)
        + f"<h2>The record</h2>\n<ul>{_items(line.strip() for line in proof)}</ul>\n</main>\n</body>\n</html>\n"
    )


def _sum(compared: Compared) -> str:
    """All of it in one line."""
    was, now = compared.model.station, compared.other.station
    waiting_s = now.waiting_s - was.waiting_s
    more = "more" if waiting_s >= 0 else "less"
    return (
        f"{now.kwh - was.kwh:+,.1f} kWh of {was.kwh:,.1f}; {clock(abs(waiting_s))} h of waiting {more}; "
        f"{now.operations - was.operations:+,} contactor operations of {was.operations:,}"
    )


def _items(sentences: Iterable[str]) -> str:
    return "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)


def _table(compared: Compared) -> str:
    groups = (("", 1), ("energy, kWh", 4), ("waiting, h:mm:ss", 3), ("contactor operations", 3))
    starts = {1, 5, 8}
    top = "".join(f'<td{_group(n, {1, 2, 3})}></td>' if not words else
                  f'<th scope="colgroup" colspan="{span}" class="group">{words}</th>'
                  for n, (words, span) in enumerate(groups))  # fmt: skip
    words = (name.rsplit(" ", 1)[-1].replace("diff", "difference") for name in WHAT_IF_HEAD)
    head = "".join(f'<th scope="col"{_group(n, starts)}>{escape(word)}</th>' for n, word in enumerate(words))
    body = ""
    for name, *cells in what_if_rows(compared):
        row = "".join(f"<td{_group(n, starts)}>{escape(cell)}</td>" for n, cell in enumerate(cells, 1))
        body += f'<tr><th scope="row">{escape(name)}</th>{row}</tr>\n'
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="Gun by gun">\n<table>\n'
        f"<thead><tr>{top}</tr>\n<tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n</div>\n"
    )


def _group(column: int, starts: set[int]) -> str:
    return ' class="group"' if column in starts else ""


def _key() -> str:
    return (
        '<ul class="key"><li><svg viewBox="0 0 32 14" aria-hidden="true"><path class="was" d="M0 14V4H32V14Z"/></svg>'
        "as it was decided (model)</li>"
        '<li><svg viewBox="0 0 32 14" aria-hidden="true"><path class="now" d="M0 10H12V4H32"/></svg>'
        "otherwise</li></ul>\n"
    )


def _span_s(compared: Compared) -> tuple[int, int]:
    """Whole hours around both."""
    begin_s = min(compared.model.begin_s or 0.0, compared.other.begin_s or 0.0)
    end_s = max(compared.model.end_s, compared.other.end_s)
    return math.floor(begin_s / 3600.0) * 3600, max(1, math.ceil(end_s / 3600.0)) * 3600


def _figure(name: str, was: GunSum, now: GunSum, span_s: tuple[int, int]) -> str:
    most_kw = max((kwh * 3600.0 / PIECE_S for kwh in (*was.pieces_kwh.values(), *now.pieces_kwh.values())), default=0.0)
    top_kw = max(STEP_KW, math.ceil(most_kw / STEP_KW - 1e-9) * STEP_KW)
    told = (
        f"{name}: power over the day. As it was {was.kwh:,.1f} kWh, otherwise {now.kwh:,.1f} kWh; waiting "
        f"{clock(was.waiting_s)}, otherwise {clock(now.waiting_s)}. At most {most_kw:.0f} kW."
    )
    rules = "".join(
        f'<line class="rule" x1="0" x2="{WIDTH:g}" y1="{HEIGHT * n / LINES:g}" y2="{HEIGHT * n / LINES:g}"/>'
        for n in range(LINES + 1)
    )
    scale = "".join(f"<span>{top_kw * (LINES - n) / LINES:g}</span>" for n in range(LINES + 1))
    return (
        f"<figure>\n<figcaption>{escape(name)} <span>{now.kwh - was.kwh:+,.1f} kWh, kW over hours</span></figcaption>\n"
        f'<div class="plot"><div class="scale" aria-hidden="true">{scale}</div>\n'
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(told)}">'
        f'{rules}<path class="was" d="{_path(was.pieces_kwh, span_s, top_kw)}Z"/>'
        f'<path class="now" d="{_path(now.pieces_kwh, span_s, top_kw)}"/></svg>\n'
        f'<div class="hours" aria-hidden="true">{_hours(span_s)}</div></div>\n</figure>\n'
    )


def _path(pieces_kwh: Mapping[int, float], span_s: tuple[int, int], top_kw: float) -> str:
    """Steps from the left to the right edge; a piece without energy lies on the ground."""
    first, last = span_s[0] // PIECE_S, span_s[1] // PIECE_S
    width = WIDTH / (last - first)
    words, height = [f"M0 {HEIGHT:g}"], HEIGHT
    for piece in range(first, last):
        kw = pieces_kwh.get(piece, 0.0) * 3600.0 / PIECE_S
        now = round(HEIGHT * (1.0 - kw / top_kw), 1)
        if now != height:
            words.append(f"H{(piece - first) * width:.4g}V{now:g}")
            height = now
    return "".join([*words, f"H{WIDTH:g}V{HEIGHT:g}"])


def _hours(span_s: tuple[int, int]) -> str:
    first, last = span_s[0] // 60, span_s[1] // 60
    step = next((step for step in MINUTE_STEPS if (last - first) / step < MOST_WORDS), MINUTE_STEPS[-1])
    words = [first, *(at for at in range(first + 1, last) if at % step == 0), last]
    return "".join(
        f'<span style="left:{100.0 * (at - first) / (last - first):.2f}%">{at // 60}:{at % 60:02}</span>'
        for at in words
    )
