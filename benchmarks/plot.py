"""A plot of curves on two logarithmic axes, as SVG: readable by day and by night, with a title for who can't see it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Axis:
    """An axis, and the values that may have a mark."""

    name: str
    marks: Sequence[float]


_WIDTH, _HEIGHT = 760, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 82, 236, 56, 60
_STYLE = """
  svg { font: 14px system-ui, sans-serif }
  .paper { fill: #ffffff } text { fill: #1f2328 } path { fill: none; stroke-width: 2.5; stroke-linejoin: round }
  .grid { stroke: #d0d7de; stroke-width: 1 } .axis { stroke: #57606a; stroke-width: 1 }
  .c0 { stroke: #1a5fb4 } .c1 { stroke: #a51d2d } .c2 { stroke: #8a5a00 } .c3 { stroke: #613583 }
  .c4 { stroke: #1f7a33; stroke-width: 4 } .c5 { stroke: #1f2328; stroke-dasharray: 2 5; stroke-linecap: round }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #16191d } text { fill: #e6e9ed } .grid { stroke: #363c44 } .axis { stroke: #9aa3ad }
    .c0 { stroke: #78aeed } .c1 { stroke: #ff8f8f } .c2 { stroke: #f0bf4c } .c3 { stroke: #cda3e8 }
    .c4 { stroke: #5fd07a } .c5 { stroke: #ffffff }
  }
"""


def plot(title: str, description: str, axes: tuple[Axis, Axis], curves: Mapping[str, Curve]) -> str:
    """The SVG. `axes` are the horizontal and the vertical one; each curve has its label at its end."""
    points = [point for curve in curves.values() for point in curve]
    x = _scale([at for at, _ in points], _LEFT, _WIDTH - _RIGHT)
    y = _scale([at for _, at in points], _HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-labelledby="t d">',
        f'<title id="t">{title}</title>',
        f'<desc id="d">{description}</desc>',
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{_WIDTH}" height="{_HEIGHT}" rx="8"/>',
        f'<text x="{_LEFT}" y="28" font-size="16" font-weight="600">{title}</text>',
        *_axes(axes, [at for at, _ in points], [at for _, at in points]),
    ]
    for place, (name, curve) in enumerate(curves.items()):
        path = " ".join(f"{'M' if not k else 'L'}{x(a):.1f} {y(b):.1f}" for k, (a, b) in enumerate(curve))
        parts.append(f'<path class="c{place}" d="{path}"><title>{name}</title></path>')
    parts += _labels(curves, y)
    return "\n".join([*parts, "</svg>", ""])


def _scale(values: Sequence[float], low: float, high: float) -> "Scale":
    return Scale(math.log(min(values)), math.log(max(values)), low, high)


class Scale:
    """From a value to a place on its axis."""

    def __init__(self, least: float, most: float, low: float, high: float) -> None:
        self._least, self._low = least, low
        self._slope = (high - low) / (most - least)

    def __call__(self, value: float) -> float:
        return self._low + (math.log(value) - self._least) * self._slope


def _axes(axes: tuple[Axis, Axis], across: Sequence[float], up: Sequence[float]) -> list[str]:
    x, y = _scale(across, _LEFT, _WIDTH - _RIGHT), _scale(up, _HEIGHT - _BOTTOM, _TOP)
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for mark in axes[0].marks:
        if min(across) <= mark <= max(across):
            parts.append(f'<path class="grid" d="M{x(mark):.1f} {_TOP}V{bottom}"/>')
            parts.append(f'<text x="{x(mark):.1f}" y="{bottom + 20}" text-anchor="middle">{mark:,}</text>')
    for mark in axes[1].marks:
        if min(up) <= mark <= max(up):
            parts.append(f'<path class="grid" d="M{_LEFT} {y(mark):.1f}H{right}"/>')
            parts.append(f'<text x="{_LEFT - 8}" y="{y(mark) + 5:.1f}" text-anchor="end">{mark:,}</text>')
    middle, half = (_LEFT + right) / 2, (_TOP + bottom) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 12}" text-anchor="middle">{axes[0].name}</text>')
    parts.append(
        f'<text x="20" y="{half}" text-anchor="middle" transform="rotate(-90 20 {half})">{axes[1].name}</text>'
    )
    return [*parts, f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{right}"/>']


def _labels(curves: Mapping[str, Curve], y: "Scale") -> list[str]:
    """A line of its colour and its name beside each curve's end, moved apart if two ends are near each other."""
    placed = sorted((y(curve[-1][1]), place, name) for place, (name, curve) in enumerate(curves.items()))
    parts, at = [], float("-inf")
    for wanted, place, name in placed:
        at = max(wanted, at + 20)
        begin = _WIDTH - _RIGHT + 22
        parts.append(f'<path class="c{place}" d="M{begin} {at:.1f}h18"/>')
        parts.append(f'<text x="{begin + 24}" y="{at + 5:.1f}">{name}</text>')
    return parts
