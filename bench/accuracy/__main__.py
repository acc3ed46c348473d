"""How right workers are: `python -m bench.accuracy [PART …]`.

Parts: `sentiment` (beside plain VADER), `languages` (identification), `summaries` (ROUGE beside the
first three sentences), `speech` (word errors, and words where nobody speaks), `loudness` (beside
ffmpeg). Prints a table, and one JSON object on its last line; figures beyond their bounds are
`missed`. Data is got once from packages of public registries.
"""

import argparse
from collections.abc import Callable, Mapping
from typing import Final

from rich.table import Table

from bench.accuracy import languages, loudness, sentiment, speech, summaries
from bench.figures import console, describe_machine, find_missed, print_json

PARTS: Final[Mapping[str, Callable[[], dict[str, float]]]] = {
    "sentiment": sentiment.measure,
    "languages": languages.measure,
    "summaries": summaries.measure,
    "speech": speech.measure,
    "loudness": loudness.measure,
}

BOUNDS: Final[Mapping[str, tuple[str, float]]] = {
    **sentiment.BOUNDS,
    **languages.BOUNDS,
    **summaries.BOUNDS,
    "wer": ("max", 0.12),
    "words_in_silence": ("max", 0),
    "words_in_tone": ("max", 0),
    "words_in_noise": ("max", 0),
    "loudness_lu": ("max", 0.1),
}


def main(parts: list[str]) -> None:
    """Measure some parts and print their figures."""
    figures: dict[str, float] = {}
    for name in parts:
        figures |= PARTS[name]()
    table = Table("figure", "measured", "bound", title="Accuracy", title_justify="left")
    for name, value in figures.items():
        side, bound = BOUNDS.get(name, ("", 0.0))
        sign = "≤" if side == "max" else "≥"
        table.add_row(name, f"{value:.3f}", f"{sign} {bound:g}" if side else "")
    console().print(table)
    bounds = {name: bound for name, bound in BOUNDS.items() if name in figures}
    rounded = {name: round(value, 4) for name, value in figures.items()}
    missed = find_missed(figures, bounds)
    print_json({**rounded, "missed": missed, **describe_machine()})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.accuracy", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"what to measure, of {', '.join(PARTS)}; all")
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"no parts: {', '.join(sorted(unknown))}")
    main(asked.parts or list(PARTS))
