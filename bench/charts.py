"""Charts as SVG that can be read on light and on dark pages."""

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

_WIDTH, _NAMES, _FIGURES = 760, 210, 90
_ROW, _BAR, _TOP = 30, 18, 40
_HEIGHT, _FOOT = 260, 30
_STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 }
.bar { fill: #8c959f } .ours { fill: #0969da } .axis { stroke: #8c959f }
.line { fill: none; stroke: #0969da; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .bar { fill: #6e7681 } .ours { fill: #4493f8 } .line { stroke: #4493f8 }
}"""


def bars(title: str, values: Mapping[str, float], *, unit: str) -> str:
    """One bar per value, in the order given; those of the gateway have a colour of their own."""
    scale = (_WIDTH - _NAMES - _FIGURES) / max(values.values())
    rows = []
    for number, (name, value) in enumerate(values.items()):
        top = _TOP + number * _ROW
        kind = "ours" if name.startswith("gateway") else "bar"
        rows += [
            _text(_NAMES - 10, top + 14, name, anchor="end"),
            f'<rect class="{kind}" x="{_NAMES}" y="{top}" width="{max(1.0, value * scale):.1f}" height="{_BAR}"/>',
            _text(_NAMES + value * scale + 8, top + 14, f"{value:.3g} {unit}"),
        ]
    return _svg(title, rows, height=_TOP + len(values) * _ROW)


def line(title: str, points: Sequence[tuple[float, float]], *, unit: str, of: str) -> str:
    """A value over time, from nothing up.

    Args:
        title: What it is.
        points: Pairs of seconds and the value.
        unit: The value's.
        of: What the seconds are.
    """
    left, right, bottom = 70, _WIDTH - 20, _HEIGHT - _FOOT
    most_s, most = max(at for at, _ in points) or 1.0, max(value for _, value in points) * 1.1
    place = [
        f"{left + (right - left) * at / most_s:.1f},{bottom - (bottom - _TOP) * value / most:.1f}"
        for at, value in points
    ]
    top_value = max(value for _, value in points)
    height_of_top = bottom - (bottom - _TOP) * top_value / most
    rows = [
        f'<path class="axis" d="M{left} {_TOP}V{bottom}H{right}" fill="none"/>',
        f'<polyline class="line" points="{" ".join(place)}"/>',
        _text(left - 8, bottom + 4, "0", anchor="end"),
        _text(left - 8, height_of_top + 4, f"{top_value:.0f} {unit}", anchor="end"),
        _text(right, _HEIGHT - 8, f"{most_s:.0f} s {of}", anchor="end"),
    ]
    return _svg(title, rows, height=_HEIGHT)


def _text(x: float, y: float, text: str, *, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(title: str, rows: Sequence[str], *, height: int) -> str:
    size = f'viewBox="0 0 {_WIDTH} {height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(title)}">'
    heading = f'<text class="title" x="10" y="22">{escape(title)}</text>'
    return "\n".join([head, f"<style>{_STYLE}</style>", heading, *rows, "</svg>"]) + "\n"
