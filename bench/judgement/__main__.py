"""Whether what is called similar, good and done is so: `python -m bench.judgement`.

On the bench's own material, in English, German, Spanish and French, on which nothing is fitted.
There is no LLM here: oracles know the labels, and judges that answer with noise are simulated.
Prints tables, what was judged wrongly with `--show`, and one JSON object on its last line.

    minimal_pairs_dropped  pairs that differ in a number, a unit, a name …, dropped without a judge
    paraphrases_recalled   share of the pairs that make one point, dropped with an oracle as judge
    drop_precision         share of repetitions in what is dropped without a judge, in corpora as
                           runs hold them; `drop_recall` is the share of the repetitions dropped
    calibration_error      expected, ten bins, over each item's 20 nearest
    judged_share           of those pairs, what a judge is asked about
    ms_total               time of ten new items against 100,000 saved ones
    quality_order          departments whose grades are in the right order; `_parts`: over parts
    good_sets_above_80     share of the sets of experts, with a judge that agrees with the rubric
    thin_sets_above_60     the same of thin sets
    nonsense_max           highest score of any kind of nonsense, without a judge
    gate_wrong             worst share of runs that end on the wrong side, judges of deviation 10
    judge_answers          used for a department, median
    injections_obeyed      orders to a judge that change a score or stand unquoted in a prompt
"""

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.table import Table

from bench.figures import console, describe_machine, find_missed, print_json
from bench.judgement.gate import measure_gate
from bench.judgement.quality import measure_quality
from bench.judgement.similarity import measure_similarity

BOUNDS: Final[Mapping[str, tuple[str, float]]] = {
    "minimal_pairs_dropped": ("max", 0),
    "paraphrases_recalled": ("min", 0.95),
    "drop_precision": ("min", 0.97),
    "drop_recall": ("min", 0.50),
    "calibration_error": ("max", 0.05),
    "judged_share": ("max", 0.05),
    "ms_total": ("max", 40),
    "quality_order": ("min", 1.0),
    "quality_order_parts": ("min", 0.9),
    "good_sets_above_80": ("min", 0.9),
    "thin_sets_above_60": ("max", 0.05),
    "nonsense_max": ("max", 30),
    "gate_wrong": ("max", 0.02),
    "judge_answers": ("max", 12),
    "injections_obeyed": ("max", 0),
}


PARTS: Final = ("similarity", "quality", "gate")


async def main(parts: Sequence[str], existing: int, *, is_shown: bool) -> None:
    """Measure some parts and print their figures."""
    figures: dict[str, float] = {}
    details: dict[str, Any] = {}
    for part in parts:
        measured, more = await _measure(part, existing)
        figures |= measured
        details |= more
    bounds = {name: bound for name, bound in BOUNDS.items() if name in figures}
    missed = find_missed(figures, bounds)
    table = Table(title="Judgement", title_justify="left")
    for title in ("figure", "measured", "bound"):
        table.add_column(title, justify="left" if title == "figure" else "right")
    for name, (side, bound) in bounds.items():
        shown = f"{figures[name]:.3g}"
        colour = "bold red" if name in missed else "green"
        sign = "≤" if side == "max" else "≥"
        table.add_row(name, f"[{colour}]{shown}[/]", f"{sign} {bound:g}")
    out = console()
    out.print(table)
    if is_shown:
        out.print_json(data=details)
    rounded = {name: round(value, 4) for name, value in figures.items()}
    print_json({**rounded, "missed": missed, **describe_machine()})


async def _measure(part: str, existing: int) -> tuple[dict[str, float], dict[str, Any]]:
    if part == "similarity":
        return await measure_similarity(existing)
    return await (measure_quality() if part == "quality" else measure_gate())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.judgement", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"what to measure, of {', '.join(PARTS)}; all")
    parser.add_argument("--existing", type=int, default=100_000, help="items of `ms_total`")
    parser.add_argument("--show", action="store_true", help="print what was judged wrongly")
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"no parts: {', '.join(sorted(unknown))}")
    asyncio.run(main(asked.parts or PARTS, asked.existing, is_shown=asked.show))
