"""Curves of scores from 0 to 100, as SVG that is made of numbers alone."""

from collections.abc import Sequence
from typing import Final

from aletheia.text.grammar import agree

WIDTH: Final = 320
HEIGHT: Final = 96
MAX_POINTS: Final = 200
"""Points that are drawn; of more, the newest."""

_PAD: Final = 6
_TOP: Final = 100.0


def draw_curve(
    values: Sequence[float], *, threshold: float | None = None, width: int = WIDTH
) -> str:
    """Return a curve of scores, oldest first, with a line at what is to be reached.

    Colours are those of the text around it and of the style sheet (`curve-…`).
    """
    shown = [min(_TOP, max(0.0, float(value))) for value in values[-MAX_POINTS:]]
    step = (width - 2 * _PAD) / max(1, len(shown) - 1)
    points = [(_PAD + step * place, _height(value)) for place, value in enumerate(shown)]
    said = _describe(shown, threshold)
    parts = [
        f'<svg viewBox="0 0 {width} {HEIGHT}" role="img" aria-label="{said}" class="curve">',
        (
            f'<line class="curve-base" x1="{_PAD}" x2="{width - _PAD}" '
            f'y1="{_height(0):.1f}" y2="{_height(0):.1f}"/>'
        ),
    ]
    if threshold is not None:
        level = _height(min(_TOP, max(0.0, float(threshold))))
        parts.append(
            f'<line class="curve-goal" x1="{_PAD}" x2="{width - _PAD}" '
            f'y1="{level:.1f}" y2="{level:.1f}"/>'
        )
    if points:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline class="curve-line" points="{path}"/>')
        x, y = points[-1]
        parts.append(f'<circle class="curve-end" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>')
    return "".join([*parts, "</svg>"])


def _height(value: float) -> float:
    return HEIGHT - _PAD - (HEIGHT - 2 * _PAD) * value / _TOP


def _describe(values: Sequence[float], threshold: float | None) -> str:
    if not values:
        return "no score so far"
    goal = "" if threshold is None else f", to reach {float(threshold):.0f}"
    steps = agree(f"{len(values)} [step|steps]", len(values))
    return f"scores from {values[0]:.0f} to {values[-1]:.0f} in {steps}{goal}"
