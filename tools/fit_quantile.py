"""Fit the coefficients of `goodinit.rng.quantile_coefficients` and print them with their errors.

The upper-tail quantile z(q) of the standard normal is approximated in two pieces.

* Centre, 2⁻¹¹ ≤ q ≤ 1/2:  z = x · P(w − 2), x = 1 − 2q, w = −ln(4q(1 − q)).
  The variable is the one of Giles (2010), "Approximating the erfinv function".
* Tail, q < 2⁻¹¹:  z = √2·t − N(t) / D(t), t = √(−ln q).
  The variable is the one of Wichura (1988), algorithm AS 241. The correction N/D is small
  and smooth, so one rational function reaches to 102 standard deviations and its rounding
  errors hardly count.

The tail is a rational interpolant at Chebyshev nodes in ln t. The centre is a Chebyshev
interpolant in double; in single, where the rounding of the coefficients would cost more than
the fit, each coefficient is rounded before the next ones are fitted by least squares to what is
left. Needs mpmath. Run it as ``python tools/fit_quantile.py``; it prints Python source.
"""

from __future__ import annotations

import functools

import mpmath as mp
import numpy as np

DIGITS = 60
CENTRE = (mp.mpf(0), mp.mpf("6.25"))
CENTRE_SHIFT = mp.mpf(2)
TAIL = (mp.mpf("2.75"), mp.mpf("72.3"))
# (dtype, degree of P, degree of N, degree of D)
ORDERS = ((np.float32, 10, 4, 5), (np.float64, 22, 10, 11))


def solve(log_mass, slope, start, target):
    """Newton's method for log_mass(z) = target."""
    z = start
    for _ in range(80):
        step = (log_mass(z) - target) / slope(z)
        z -= step
        if abs(step) < mp.mpf(10) ** -45 * (1 + abs(z)):
            return z
    raise ArithmeticError(f"no convergence at {target}")


def upper(z):
    """Upper tail of the standard normal."""
    return mp.erfc(z / mp.sqrt(2)) / 2


def centre_ratio(w):
    """Return z / x as a function of w; √(π/2) at 0."""
    if w == 0:
        return mp.sqrt(mp.pi / 2)
    x = mp.sqrt(-mp.expm1(-w))
    return mp.sqrt(2) * mp.erfinv(x) / x


def tail_quantile(t):
    """Return z as a function of t = √(−ln q)."""
    target = t * t
    return solve(
        lambda z: -mp.log(upper(z)),
        lambda z: mp.npdf(z) / upper(z),
        mp.sqrt(2 * target - mp.log(4 * mp.pi * target)),
        target,
    )


def chebyshev_nodes(low, high, count):
    """Chebyshev points of the first kind in [low, high]."""
    return [
        (low + high) / 2 + (high - low) / 2 * mp.cos(mp.pi * (2 * i + 1) / (2 * count)) for i in range(count)
    ]


def fit_polynomial(f, low, high, shift, degree):
    """Coefficients, lowest first, of the interpolant in (x − shift)."""
    nodes = chebyshev_nodes(low, high, degree + 1)
    matrix = mp.matrix(degree + 1, degree + 1)
    for row, x in enumerate(nodes):
        for column in range(degree + 1):
            matrix[row, column] = (x - shift) ** column
    return list(mp.lu_solve(matrix, mp.matrix([f(x) for x in nodes])))


def fit_polynomial_rounding(f, low, high, shift, degree, dtype):
    """Like `fit_polynomial` for a narrow dtype: fit, round the lowest coefficient, fit the rest again."""
    nodes = chebyshev_nodes(low, high, 160)
    x = np.array([float(node - shift) for node in nodes])
    y = np.array([float(f(node)) for node in nodes])
    fixed = []
    for power in range(degree + 1):
        columns = x[:, None] ** np.arange(power, degree + 1) / y[:, None]
        rest = 1 - sum((c * x**i for i, c in enumerate(fixed)), np.zeros_like(x)) / y
        fixed.append(float(dtype(np.linalg.lstsq(columns, rest, rcond=None)[0][0])))
    return fixed


def fit_rational(f, low, high, m, n):
    """Numerator and denominator, lowest first; the denominator begins with 1."""
    count = m + n + 1
    nodes = [mp.exp(x) for x in chebyshev_nodes(mp.log(low), mp.log(high), count)]
    matrix, values = mp.matrix(count, count), mp.matrix(count, 1)
    for row, x in enumerate(nodes):
        values[row] = f(x)
        for column in range(m + 1):
            matrix[row, column] = x**column
        for column in range(1, n + 1):
            matrix[row, m + column] = -values[row] * x**column
    solution = list(mp.lu_solve(matrix, values))
    return solution[: m + 1], [mp.mpf(1), *solution[m + 1 :]]


def horner(coefficients, x):
    """Value of a polynomial given lowest coefficient first."""
    total = mp.mpf(0)
    for coefficient in reversed(coefficients):
        total = total * x + coefficient
    return total


def rounded(coefficients, dtype):
    """Each coefficient as the nearest value of dtype."""
    return [mp.mpf(float(dtype(mp.nstr(c, 25)))) for c in coefficients]


def show(name, coefficients, dtype):
    """Print one tuple as Python source; the digits are enough to read the same value back."""
    digits = 9 if dtype is np.float32 else 17
    print(f"{name} = (")
    for c in coefficients:
        print(f"    {float(c):.{digits}g},")
    print(")")


def main() -> None:
    """Fit both precisions and print constants and errors."""
    mp.mp.dps = DIGITS
    grid = [mp.mpf(i) / 300 for i in range(301)]
    centre = [CENTRE[0] + (CENTRE[1] - CENTRE[0]) * g for g in grid]
    centre_exact = [centre_ratio(w) for w in centre]
    tail = [mp.exp(mp.log(TAIL[0]) + (mp.log(TAIL[1]) - mp.log(TAIL[0])) * g) for g in grid]
    tail_exact = [tail_quantile(t) for t in tail]
    for dtype, degree, m, n in ORDERS:
        label = dtype.__name__.upper()
        root_two = mp.mpf(float(dtype(mp.nstr(mp.sqrt(2), 25))))
        correction = functools.partial(lambda t, slope: slope * t - tail_quantile(t), slope=root_two)
        if dtype is np.float32:
            p = fit_polynomial_rounding(centre_ratio, *CENTRE, CENTRE_SHIFT, degree, dtype)
        else:
            p = rounded(fit_polynomial(centre_ratio, *CENTRE, CENTRE_SHIFT, degree), dtype)
        num, den = (rounded(c, dtype) for c in fit_rational(correction, *TAIL, m, n))
        error = max(
            abs(horner(p, w - CENTRE_SHIFT) / z - 1) for w, z in zip(centre, centre_exact, strict=True)
        )
        print(f"# relative error with rounded coefficients, exact arithmetic: {mp.nstr(error, 2)}")
        show(f"CENTRE_{label}", p, dtype)
        error = max(
            abs((root_two * t - horner(num, t) / horner(den, t)) / z - 1)
            for t, z in zip(tail, tail_exact, strict=True)
        )
        lowest = min(horner(den, t) for t in tail)
        print(f"# relative error: {mp.nstr(error, 2)}; least denominator {mp.nstr(lowest, 3)}")
        show(f"TAIL_NUMERATOR_{label}", num, dtype)
        show(f"TAIL_DENOMINATOR_{label}", den, dtype)


if __name__ == "__main__":
    main()
