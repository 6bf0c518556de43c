"""How many cases it takes to show that a loss is below a margin."""

import math

LEVEL = 0.025
"""Of the one-sided test, which goes with two-sided intervals of 95 %."""

POWER = 0.8
"""How likely the number of cases that is named would show what there is to show."""


FEWEST = 6
"""Units below which nothing is said: with 5, not even all on the right side of the
margin would be rarer by chance than `LEVEL` (1 in 32; with 6 it is 1 in 64)."""


MOST = 100_000
"""Units beyond which no number is named."""


def units_needed(mean: float, deviation: float, margin: float, level: float) -> int:
    """Return how many units show a loss to be below a margin, with `POWER`.

    Parameters
    ----------
    mean, deviation : float
        Of the differences, in the units of the margin.
    margin : float
    level : float
        One-sided.

    Returns
    -------
    int
        `MOST` + 1 where that many would not do.
    """
    from scipy.stats import nct, t

    def shows(count: int) -> bool:
        effect = math.sqrt(count) * (mean + margin) / deviation
        if effect > 30:  # the distribution overflows, and all of it is beyond
            return True
        limit = t.ppf(1 - level, count - 1)
        return float(nct.sf(limit, count - 1, effect)) >= POWER

    if mean <= -margin or not (deviation <= 1e-12 or shows(MOST)):
        return MOST + 1
    if deviation <= 1e-12 or shows(FEWEST):
        return FEWEST
    low, high = FEWEST, MOST  # low does not show it, high does
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return high
