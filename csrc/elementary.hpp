// ln, sin and cos from operations that IEEE 754 fixes; rng/elementary.py is the specification,
// and the order of operations here is its order.
#pragma once

#include <cstddef>

#include "precision.hpp"

namespace goodinit::GOODINIT_ISA {

// Sum of coefficients[n] x^n by Horner's rule.
template <class Real, std::size_t N, class F>
GOODINIT_INLINE F horner(const Real (&coefficients)[N], F x) {
  F total = x * coefficients[N - 1];
#pragma GCC unroll 32
  for (std::size_t n = N - 2; n > 0; --n) total = (total + coefficients[n]) * x;
  return total + coefficients[0];
}

// ln u for positive normal u = 2^e m, sqrt(1/2) <= m < sqrt(2): e ln 2 + f - s (f - R).
template <class P, class F>
GOODINIT_INLINE F natural_log(F u) {
  const auto shifted = as_unsigned(u) - P::sqrt_half;
  const F exponent = to_float(as_signed(shifted) >> P::mantissa_bits);
  const auto mantissa = (shifted & ((typename P::uint{1} << P::mantissa_bits) - 1)) + P::sqrt_half;
  const F f = as_float(mantissa) - typename P::real{1};
  const F s = f / (f + typename P::real{2});
  const F square = s * s;
  F total = horner(P::log_series, square) * square;
  total = (f - total) * s;
  total = exponent * P::ln2_low - total;
  total = total + f;
  return total + exponent * P::ln2_high;
}

// sin x and cos x for |x| <= pi/4.
template <class P, class F>
GOODINIT_INLINE void sine_cosine(F x, F& sine, F& cosine) {
  const F square = x * x;
  sine = horner(P::sine_series, square) * x;
  cosine = horner(P::cosine_series, square);
}

}  // namespace goodinit::GOODINIT_ISA
