"""A smooth curve that never falls, through qualities that scatter over the rate."""

import numpy as np
from scipy.optimize import nnls

_SEGMENTS = 2
_GRID = np.linspace(0, 1, 1025)


def rising_fit(log_rates: np.ndarray, quality: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least squares over log rate by a curve that never falls.

    It has four parameters whatever the number of points; see
    :func:`salcompress.metrics.bd_rate.fitted_bd_rate`.

    Args:
        log_rates: Logarithms of the rates, of which at least two differ, (P,).
        quality: (P,).

    Returns:
        Log rates on a fine grid over the range of the points, and the fitted quality there.
    """
    start, stop = log_rates.min(), log_rates.max()
    rises = _rises((log_rates - start) / (stop - start))
    # the constant may have either sign, and nnls gives none below 0: hence a column for each
    ones = np.ones((len(log_rates), 1))
    parameters, _ = nnls(np.hstack([ones, -ones, rises]), quality)
    curve = parameters[0] - parameters[1] + _rises(_GRID) @ parameters[2:]
    return start + _GRID * (stop - start), curve


def _rises(position: np.ndarray) -> np.ndarray:
    """Integrals from 0 to ``position`` in [0, 1] of the hat functions on ``_SEGMENTS`` segments.

    Any sum of them with weights of at least 0 never falls; the weights are its slopes at the knots.
    Ramsay, "Monotone regression splines in action", Statistical Science 3(4), 1988.
    """
    knots = np.linspace(0, 1, _SEGMENTS + 1)

    def integral(x: np.ndarray) -> np.ndarray:
        offset = np.clip((x[:, None] - knots) * _SEGMENTS, -1, 1)
        return np.where(offset < 0, (offset + 1) ** 2 / 2, 0.5 + offset - offset**2 / 2) / _SEGMENTS

    return integral(position) - integral(np.zeros(1))
