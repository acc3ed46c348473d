"""Draws how reliable the probabilities of a calibration are, by matplotlib."""

import io
from collections.abc import Sequence
from typing import Any, Final

from aletheia.items.similarity_fitting import Bin

_SIDE: Final = 6.4
"""Of the picture, inches."""

_MIN_DOT: Final = 30.0
_DOT: Final = 600.0
"""Area of a dot, points², and what the share of its pairs adds to it."""

_STYLE: Final[dict[Any, Any]] = {
    "font.family": "sans-serif",
    "font.size": 12,
    "svg.fonttype": "none",  # characters stay text, of any script
    "svg.hashsalt": "reliability",  # the same names inside each time
    "text.parse_math": False,  # a `$` in a name is no formula
}
_LINE: Final = "#2b5c8a"
_IDEAL: Final = "#8c8c8c"
_GRID: Final = "#d9d9d9"


def draw_reliability(bins: Sequence[Bin], model: str) -> bytes:
    """Draw the share of repetitions over the probability that was said, by tenths, as SVG."""
    # Takes a second and 70 MB, which must not be paid by whoever draws nothing.
    from matplotlib import rc_context  # noqa: PLC0415 - slow  # pyright: ignore[reportUnknownVariableType] - matplotlib types it in part
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415 - slow
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow

    with rc_context(_STYLE):
        figure: Any = Figure(figsize=(_SIDE, _SIDE))
        FigureCanvasSVG(figure)
        axes: Any = figure.add_subplot()
        _set_up(axes, model)
        said = [found.probability for found in bins]
        shares = [found.share for found in bins]
        sizes = [_MIN_DOT + _DOT * found.weight for found in bins]
        axes.plot(said, shares, color=_LINE, linewidth=1.4, zorder=2)
        axes.scatter(said, shares, s=sizes, color=_LINE, zorder=3)
        for found in bins:
            axes.annotate(
                f"{found.pairs}",
                (found.probability, found.share),
                xytext=(8, -14),
                textcoords="offset points",
                fontsize=9,
                color=_LINE,
            )
        drawn = io.BytesIO()
        figure.savefig(drawn, format="svg", bbox_inches="tight", metadata={"Date": None})
    return drawn.getvalue()


def _set_up(axes: Any, model: str) -> None:
    axes.set_xlim(-0.03, 1.06)
    axes.set_ylim(-0.03, 1.06)
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.plot([0, 1], [0, 1], color=_IDEAL, linestyle="--", linewidth=1.2, label="ideal")
    axes.set_xlabel("probability that was said")
    axes.set_ylabel("share of repetitions, among pairs that nothing was fitted on")
    axes.set_title(f"Reliability of {model}\n(numbers of pairs beside the dots)", loc="left")
    axes.legend(loc="upper left", frameon=False)
