// ln, sin and cos from operations that IEEE 754 fixes; rng/elementary.py is the specification,
// and the order of operations here is its order.
#pragma once

#include <cstddef>

#include "precision.hpp"

namespace goodinit::GOODINIT_ISA {

// Sum of scale * coefficients[n] x^n by Horner's rule; the scale must be a power of two, or minus one.
template <int scale = 1, class Real, std::size_t N, class F>
GOODINIT_INLINE F horner(const Real (&coefficients)[N], F x) {
  F total = x * (coefficients[N - 1] * scale);
#pragma GCC unroll 32
  for (std::size_t n = N - 2; n > 0; --n) total = (total + coefficients[n] * scale) * x;
  return total + coefficients[0] * scale;
}

// scale * ln(u / 2^down), scale 1 or -2, for positive normal u: u / 2^down = 2^e m, sqrt(1/2) <= m < sqrt(2),
// e ln 2 + f - s (f - R). Every rounding of the scaled sum is that of the sum, scaled: same bits, fewer steps.
// It comes in two steps, for a loop to take each over many values.
template <class P, int scale = 1, int down = 0>
struct Logarithm {
  static_assert(scale == 1 || scale == -2);
  typename P::F f, s, exponent;

  static GOODINIT_INLINE Logarithm of(typename P::F u) {
    using real = typename P::real;
    using uint = typename P::uint;
    Logarithm out;
    const auto shifted = as_unsigned(u) - (P::sqrt_half + (uint{down} << P::mantissa_bits));
    out.exponent = to_float(as_signed(shifted) >> P::mantissa_bits);
    const auto fraction = shifted & ((uint{1} << P::mantissa_bits) - 1);
    if constexpr (scale == 1) {
      out.f = as_float(fraction + P::sqrt_half) - real{1};
    } else {
      out.f = real{2} - as_float(fraction + (P::sqrt_half + (uint{1} << P::mantissa_bits)));
    }
    out.s = out.f / (out.f + real{2} * scale);
    return out;
  }

  GOODINIT_INLINE typename P::F value() const {
    const auto square = s * s;
    auto total = horner<scale>(P::log_series, square) * square;
    total = (f - total) * s;
    total = exponent * (P::ln2_low * scale) - total;
    total = total + f;
    return total + exponent * (P::ln2_high * scale);
  }
};

// sin x and cos x for |x| <= pi/4.
template <class P, class F>
GOODINIT_INLINE void sine_cosine(F x, F& sine, F& cosine) {
  const F square = x * x;
  sine = horner(P::sine_series, square) * x;
  cosine = horner(P::cosine_series, square);
}

}  // namespace goodinit::GOODINIT_ISA
