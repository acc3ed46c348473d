"""Draws how the quality of a run's departments went up, by matplotlib."""

import io
import warnings
from typing import Any, Final

from aletheia.gather.progress import DepartmentProgress, RunProgress, StopReason

_MAX_NAME: Final = 24
_GAP: Final = 1.5
"""Between two departments, in iterations."""

_HEIGHT: Final = 5.6
_NARROWEST: Final = 11.0
_WIDEST: Final = 15.0
_PER_ITERATION: Final = 0.24
_PER_DEPARTMENT: Final = 0.75
"""Sizes of the picture, inches."""

_STYLE: Final[dict[Any, Any]] = {
    "font.family": "sans-serif",
    "font.size": 12,
    "svg.fonttype": "none",  # characters stay text, of any script
    "text.parse_math": False,  # a `$` in a name is no formula
}

_REACHED: Final = "#1b7837"
_SHORT: Final = "#b2500f"
_LINE: Final = "#2b5c8a"
_BOUND: Final = "#6b6b6b"
_GRID: Final = "#d9d9d9"


def draw_quality(progress: RunProgress, project_id: str, *, is_mock: bool) -> bytes:
    """Draw the quality of scored departments over their iterations, side by side, as SVG."""
    # Takes a second and 70 MB, which must not be paid by whoever draws nothing.
    from matplotlib import rc_context  # noqa: PLC0415 - slow  # pyright: ignore[reportUnknownVariableType] - matplotlib types it in part
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415 - slow
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow

    scored = [department for department in progress.departments if department.scores]
    units = sum(len(department.iterations) + _GAP for department in scored)
    width = _PER_ITERATION * units + _PER_DEPARTMENT * len(scored)
    with rc_context(_STYLE), warnings.catch_warnings():
        # Of characters that its own font lacks; whoever shows the picture has others.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure: Any = Figure(figsize=(min(max(width, _NARROWEST), _WIDEST), _HEIGHT))
        FigureCanvasSVG(figure)
        axes: Any = figure.add_subplot()
        _set_up(axes, project_id, is_mock=is_mock)
        left, numbers, names = 0.0, dict[float, str](), dict[float, str]()
        for department in scored:
            last = len(department.iterations)
            numbers |= {left: "0", left + last: str(last)}
            name = " ".join(department.department.name.split())
            names[left + last / 2] = name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"
            _draw_department(axes, department, left)
            left += last + _GAP
        axes.set_xticks(list(numbers), list(numbers.values()))
        axes.tick_params(axis="x", which="minor", length=0, pad=24)
        axes.xaxis.remove_overlapping_locs = False
        slanted = {"rotation": 30, "rotation_mode": "anchor", "ha": "right"}
        axes.set_xticks(list(names), list(names.values()), minor=True, **slanted)
        axes.set_xlim(-_GAP / 2, max(left - _GAP / 2, _GAP))
        drawn = io.BytesIO()
        figure.savefig(drawn, format="svg", bbox_inches="tight", metadata={"Date": None})
    return drawn.getvalue()


def _set_up(axes: Any, project_id: str, *, is_mock: bool) -> None:
    axes.set_ylim(0, 106)
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylabel("quality, 0 to 100")
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.set_xlabel("department, and its iterations (0: before the first)")
    said = " (mock: the items are made up)" if is_mock else ""
    axes.set_title(
        f"Quality over iterations, project {project_id}{said}", loc="left", fontsize=14, pad=34
    )
    axes.plot([], [], color=_SHORT, linestyle="--", linewidth=1.2, label="threshold")
    axes.plot([], [], marker="o", linestyle="", color=_REACHED, label="reached it")
    axes.plot([], [], marker="o", linestyle="", color=_SHORT, label="did not")
    axes.plot([], [], color=_BOUND, marker="_", linewidth=1.2, label="judges' lower bound")
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=4, frameon=False)


def _draw_department(axes: Any, department: DepartmentProgress, left: float) -> None:
    right, scores = left + len(department.iterations), department.scores
    places = [left + number for number in range(len(scores))]
    colour = _REACHED if department.reason is StopReason.THRESHOLD_REACHED else _SHORT
    ends = [left - 0.4 * _GAP, right + 0.4 * _GAP]
    axes.plot(ends, [department.threshold] * 2, color=_SHORT, linestyle="--", linewidth=1.2)
    axes.plot(places, scores, color=_LINE, linewidth=1.8, marker="o", markersize=3)
    axes.plot([right], [scores[-1]], color=colour, marker="o", markersize=7)
    _draw_bound(axes, department, right)
    axes.annotate(
        f"{scores[-1]:.0f}",
        (right, scores[-1]),
        xytext=(0, 7),
        textcoords="offset points",
        ha="center",
        fontsize=10,
        color=colour,
    )


def _draw_bound(axes: Any, department: DepartmentProgress, right: float) -> None:
    """Draw how far down the last score may be wrong, and what it rests on."""
    gate = department.gate
    if not gate.get("answers"):
        return
    bound = max(0.0, float(gate["bound"]))
    axes.plot([right] * 2, [bound, gate["mean"]], color=_BOUND, marker="_", linewidth=1.2)
    axes.annotate(
        f"{gate['answers']} answers, ±{gate['spread']:.0f}",
        (right, bound),
        xytext=(0, -11),
        textcoords="offset points",
        ha="center",
        fontsize=8,
        color=_BOUND,
    )
