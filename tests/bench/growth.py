"""How fast a series of figures grows: a straight line through its points, and how sure that line is."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Growth:
    """A slope in units of the figure per unit of time, with its standard error."""

    slope: float
    error: float

    def __str__(self) -> str:
        return f"{self.slope:+.1f} ± {self.error:.1f}"


def growth(points: Sequence[tuple[float, float]]) -> Growth:
    """The least-squares line through (time, figure). Raises ValueError below three points, which prove no line."""
    if len(points) < 3:
        raise ValueError(f"{len(points)} samples are too few for a slope: at least 3 are needed")
    times, figures = zip(*points, strict=True)
    slope, start = statistics.linear_regression(times, figures)
    residual = sum((figure - start - slope * time) ** 2 for time, figure in points)
    spread = sum((time - statistics.fmean(times)) ** 2 for time in times)
    return Growth(slope, math.sqrt(residual / (len(points) - 2) / spread))


def second_half(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """What was seen after half the time: a process that just began has caches to fill."""
    half = (points[0][0] + points[-1][0]) / 2
    return [point for point in points if point[0] >= half]
