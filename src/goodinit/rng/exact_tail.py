"""The normal law's tail in decimal arithmetic: the host side of the truncated normal.

The constants of a truncation must be the same on every machine, and libm's exp and erfc are not.
Python's decimal module is: its operations, exp and ln are correctly rounded.
"""

from __future__ import annotations

from decimal import (
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DivisionByZero,
    InvalidOperation,
    Overflow,
    localcontext,
)

__all__ = ["CONTEXT", "central_mass", "upper_tail"]

# 60 digits leave more than 17 after the worst cancellation, an interval one float64 step wide.
# All fields are given, so that a program's own default context changes nothing.
CONTEXT = Context(
    prec=60,
    rounding=ROUND_HALF_EVEN,
    Emin=-999_999_999,
    Emax=999_999_999,
    capitals=1,
    clamp=0,
    flags=[],
    traps=[InvalidOperation, DivisionByZero, Overflow],
)
_TWO_PI = Decimal("6.28318530717958647692528676655900576839433879875021164194988918")
# Above this the tail is nothing beside any tail that an interval may begin in (100 sigma).
_BEYOND = Decimal(1000)
# Series below, continued fraction above: both then give 40 digits within 150 terms.
_SERIES_LIMIT = Decimal(6)


def _density(z: Decimal) -> Decimal:
    return (-z * z / 2).exp() / _TWO_PI.sqrt()


def central_mass(z: Decimal) -> Decimal:
    """Return P(0 < Z < z) for z ≥ 0 to 35 digits, relative.

    φ(z)·(z + z³/3 + z⁵/(3·5) + …) up to 6 sigma, ½ − Q(z) above.

    >>> round(central_mass(Decimal(1)), 10)
    Decimal('0.3413447461')

    Source: Abramowitz and Stegun (1964), 26.2.11.
    """
    with localcontext(CONTEXT):
        if z > _SERIES_LIMIT:
            return Decimal("0.5") - upper_tail(z)
        term = total = +z
        n = 1
        while term > total * Decimal("1e-62"):
            n += 2
            term = term * z * z / n
            total += term
        return _density(z) * total


def upper_tail(z: Decimal) -> Decimal:
    """Return Q(z) = P(Z > z) for z ≥ 0 to 35 digits, relative; 0 beyond 1000 sigma.

    φ(z)/(z + 1/(z + 2/(z + 3/(z + …)))) above 6 sigma, ½ − P(0 < Z < z) below.

    >>> round(upper_tail(Decimal(2)), 10)
    Decimal('0.0227501319')

    Source: Abramowitz and Stegun (1964), 26.2.14.
    """
    with localcontext(CONTEXT):
        if z <= _SERIES_LIMIT:
            return Decimal("0.5") - central_mass(z)
        if z > _BEYOND:
            return Decimal(0)
        fraction = z
        for n in range(150, 0, -1):
            fraction = z + n / fraction
        return _density(z) / fraction
