"""Smooth curves through points: Kochanek-Bartels splines (1984) with tension, on any increasing times.

Tension 0 is Catmull-Rom, 1 stands still at every point, -1 swings twice as far.
"""

import numpy as np
from jaxtyping import Float


def spline(
    values: Float[np.ndarray, "k d"],
    times: Float[np.ndarray, "m"],
    moments: Float[np.ndarray, "n"],
    *,
    closed: bool = False,
    tension: float = 0.0,
) -> Float[np.ndarray, "n d"]:
    """The curve through ``values`` at ``times``, evaluated at ``moments`` (held at the ends outside).

    A closed curve returns to its first point at ``times[k]``, so it has a time more than points.

    Raises:
        ValueError: fewer than two points, times that do not fit or do not increase.
    """
    count = len(values)
    if count < 2 or len(times) != count + int(closed) or bool((np.diff(times) <= 0).any()):
        raise ValueError(
            f"spline: expected two points or more and increasing times, got {count} points and times {times}"
        )
    steps = np.diff(times)
    if closed:
        values = np.concatenate([values, values[:1]])
    slopes = np.diff(values, axis=0) / steps[:, None]
    if closed:
        before, after = np.roll(slopes, 1, axis=0), slopes
        step_before, step_after = np.roll(steps, 1)[:, None], steps[:, None]
        tangents = (before * step_after + after * step_before) / (step_before + step_after)
        tangents = np.concatenate([tangents, tangents[:1]])
    else:
        inner = (slopes[:-1] * steps[1:, None] + slopes[1:] * steps[:-1, None]) / (steps[:-1] + steps[1:])[:, None]
        tangents = np.concatenate([slopes[:1], inner, slopes[-1:]])
    tangents = (1.0 - tension) * tangents
    moments = np.clip(moments, times[0], times[-1])
    left = np.clip(np.searchsorted(times, moments, side="right") - 1, 0, len(steps) - 1)
    step = steps[left][:, None]
    u = (moments - times[left])[:, None] / step
    # Cubic Hermite polynomials.
    start = (1.0 + 2.0 * u) * (1.0 - u) ** 2 * values[left] + u * (1.0 - u) ** 2 * step * tangents[left]
    finish = u**2 * (3.0 - 2.0 * u) * values[left + 1] + u**2 * (u - 1.0) * step * tangents[left + 1]
    return start + finish
