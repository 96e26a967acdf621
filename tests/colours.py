"""Colours as people see them: contrast by WCAG, and how far two colours are apart for eyes of each kind.

Sources: WCAG 2.1 (relative luminance); Machado, Oliveira, Fernandes 2009 (colour vision deficiency, severity 1.0);
CIE L*a*b* under D65 with the plain distance of 1976: a difference of 10 is plain to see, also side by side in a chart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Rgb = tuple[float, float, float]  # linear light, 0 to 1

#: Rows of the matrices by which linear RGB is turned into what such eyes see.
# fmt: off
EYES: dict[str, Sequence[Sequence[float]]] = {
    "all three cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no red cones": (
        (0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998),
    ),
    "no green cones": (
        (0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881),
    ),
    "no blue cones": (
        (1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900),
    ),
}
# fmt: on
_TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
_WHITE = (0.95047, 1.0, 1.08883)


def linear(hex_colour: str) -> Rgb:
    """`#rrggbb` as linear light."""
    red, green, blue = (int(hex_colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return _linear(red), _linear(green), _linear(blue)


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def contrast(one: str, other: str) -> float:
    """1 to 21."""
    lighter, darker = sorted((_luminance(linear(one)), _luminance(linear(other))), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: Rgb) -> float:
    return 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2]


def apart(one: str, other: str, eyes: str) -> float:
    """Distance in L*a*b*."""
    return math.dist(_lab(_seen(linear(one), eyes)), _lab(_seen(linear(other), eyes)))


def _seen(colour: Rgb, eyes: str) -> Rgb:
    red, green, blue = (min(1.0, max(0.0, _dot(row, colour))) for row in EYES[eyes])
    return red, green, blue


def _dot(row: Sequence[float], colour: Rgb) -> float:
    return sum(factor * value for factor, value in zip(row, colour, strict=True))


def _lab(colour: Rgb) -> tuple[float, float, float]:
    x, y, z = (_curve(_dot(row, colour) / white) for row, white in zip(_TO_XYZ, _WHITE, strict=True))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def _curve(value: float) -> float:
    return math.cbrt(value) if value > 216 / 24389 else (24389 / 27 * value + 16) / 116
