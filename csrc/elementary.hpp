// ln, sin and cos from operations that IEEE 754 fixes; rng/elementary.py is the specification,
// and the order of operations here is its order.
#pragma once

#include <cstddef>

#include "precision.hpp"

namespace goodinit::GOODINIT_ISA {

// Sum of coefficients[n] x^n by Horner's rule.
template <class F, class Real, std::size_t N>
GOODINIT_INLINE F horner(const Real (&coefficients)[N], F x) {
  F total = x * coefficients[N - 1];
#pragma GCC unroll 32
  for (std::size_t n = N - 2; n > 0; --n) total = (total + coefficients[n]) * x;
  return total + coefficients[0];
}

// ln u for positive normal u = 2^e m, sqrt(1/2) <= m < sqrt(2): e ln 2 + f - s (f - R).
template <class P>
GOODINIT_INLINE typename P::F natural_log(typename P::F u) {
  using F = typename P::F;
  using I = typename P::I;
  using U = typename P::U;
  U shifted = bits<U>(u) - P::sqrt_half;
  F exponent = to_float(bits<I>(shifted) >> P::mantissa_bits);
  U mantissa = (shifted & ((typename P::uint{1} << P::mantissa_bits) - 1)) + P::sqrt_half;
  F f = bits<F>(mantissa) - typename P::real{1};
  F s = f / (f + typename P::real{2});
  F square = s * s;
  F total = horner(P::log_series, square) * square;
  total = (f - total) * s;
  total = exponent * P::ln2_low - total;
  total = total + f;
  return total + exponent * P::ln2_high;
}

// sin x and cos x for |x| <= pi/4.
template <class P>
GOODINIT_INLINE void sine_cosine(typename P::F x, typename P::F& sine, typename P::F& cosine) {
  typename P::F square = x * x;
  sine = horner(P::sine_series, square) * x;
  cosine = horner(P::cosine_series, square);
}

}  // namespace goodinit::GOODINIT_ISA
