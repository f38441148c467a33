// Uniform, normal and truncated normal values from random integers; rng/laws.py and
// rng/truncated.py are the specification.
#pragma once

#include "elementary.hpp"
#include "parameters.hpp"

namespace goodinit::GOODINIT_ISA {

template <class P>
GOODINIT_INLINE typename P::F absolute(typename P::F x) {
  using U = typename P::U;
  return bits<typename P::F>(bits<U>(x) & ~(typename P::uint{1} << (P::bits - 1)));
}

template <class P>
struct UniformLaw {
  typename P::real low, span, high;

  explicit UniformLaw(const Parameters& p)
      : low(static_cast<typename P::real>(p.low)),
        span(static_cast<typename P::real>(p.span)),
        high(static_cast<typename P::real>(p.high)) {}

  // Integers of the elements 2k and 2k + 1 of some blocks to their values.
  GOODINIT_INLINE void operator()(typename P::U even, typename P::U odd, typename P::F& first, typename P::F& second) const {
    first = one(even);
    second = one(odd);
  }

 private:
  GOODINIT_INLINE typename P::F one(typename P::U integer) const {
    using F = typename P::F;
    constexpr int shift = P::bits - P::mantissa_bits - 1;
    constexpr auto unit = typename P::real{1} / (typename P::uint{1} << (P::mantissa_bits + 1));
    // Below 2^24 (2^53), so the signed conversion, which every machine has, is exact.
    F value = to_float(bits<typename P::I>(integer >> shift)) * unit * span + low;
    return minimum(value, F{} + high);
  }
};

template <class P>
struct NormalLaw {
  typename P::real mean, std;

  explicit NormalLaw(const Parameters& p)
      : mean(static_cast<typename P::real>(p.mean)), std(static_cast<typename P::real>(p.std)) {}

  GOODINIT_INLINE void operator()(typename P::U even, typename P::U odd, typename P::F& first, typename P::F& second) const {
    using F = typename P::F;
    using U = typename P::U;
    using I = typename P::I;
    F u;
    if constexpr (P::bits == 32) {
      u = to_float(even) * 0x1p-32f + 0x1p-33f;
    } else {
      u = (to_float(even >> 11) + 0.5) * 0x1p-53;
    }
    F radius = square_root(absolute<P>(natural_log<P>(u) * typename P::real{-2}));

    constexpr double quarter = 0x1.921fb54442d18p-1;  // pi/4
    constexpr auto step = static_cast<typename P::real>(P::bits == 32 ? quarter * 0x1p-31 : quarter * 0x1p-63);
    F sine{}, cosine{};
    sine_cosine<P>(to_float(bits<I>((odd << 2) | 2)) * step, sine, cosine);

    // A quarter turn swaps sine and cosine, a half turn flips both signs: on the bits.
    U quadrant = odd >> (P::bits - 2);
    U a = bits<U>(cosine), b = bits<U>(sine);
    U swap = (a ^ b) & -(quadrant & 1);
    a ^= swap;
    b ^= swap;
    U half = quadrant >> 1;
    b ^= half << (P::bits - 1);
    a ^= (half ^ quadrant) << (P::bits - 1);
    first = bits<F>(a) * radius * std + mean;
    second = bits<F>(b) * radius * std + mean;
  }
};

// Which sides of 0 an interval covers; where it is symmetric both have the same constants.
enum class Sides { one, symmetric, two };

template <class P, Sides sides>
struct TruncatedLaw {
  using R = typename P::real;
  struct Side {
    R v_outer, v_step, x_inner, x_step;
    explicit Side(const TruncationSide& s)
        : v_outer(static_cast<R>(s.v_outer)),
          v_step(static_cast<R>(s.v_step)),
          x_inner(static_cast<R>(s.x_inner)),
          x_step(static_cast<R>(s.x_step)) {}
  };
  typename P::uint left_count;  // 0 with one side
  Side left, right;
  R w_inner, c, d, l_inner, v_split, mean, scale, low, high;

  explicit TruncatedLaw(const Parameters& p)
      : left_count(static_cast<typename P::uint>(p.left_count)),
        left(p.left),
        right(p.right),
        w_inner(static_cast<R>(p.w_inner)),
        c(static_cast<R>(p.c)),
        d(static_cast<R>(p.d)),
        l_inner(static_cast<R>(p.l_inner)),
        v_split(static_cast<R>(p.v_split)),
        mean(static_cast<R>(p.mean)),
        scale(static_cast<R>(p.std)),
        low(static_cast<R>(p.low)),
        high(static_cast<R>(p.high)) {}

  GOODINIT_INLINE void operator()(typename P::U even, typename P::U odd, typename P::F& first, typename P::F& second) const {
    constexpr int unused = P::bits - P::integer_bits;
    first = one(even >> unused);
    second = one(odd >> unused);
  }

 private:
  GOODINIT_INLINE typename P::F one(typename P::U integer) const {
    using F = typename P::F;
    using U = typename P::U;
    using I = typename P::I;
    constexpr auto top = static_cast<typename P::uint>((std::uint64_t{1} << (P::integer_bits - 1)) * 2 - 1);
    U inside = integer - left_count, outside = integer ^ top;
    U is_left{};
    F v_step = F{} + right.v_step, v_outer = F{} + right.v_outer;
    F x_step = F{} + right.x_step, x_inner = F{} + right.x_inner;
    if constexpr (sides != Sides::one) {
      // All ones on the left side: it turns n - k into k, since -n - 1 is ~n.
      is_left = bits<U>(integer < (U{} + left_count));
      inside ^= is_left;
      outside ^= is_left & top;
    }
    if constexpr (sides == Sides::two) {
      const I mask = bits<I>(is_left);
      v_step = mask ? F{} + left.v_step : v_step;
      v_outer = mask ? F{} + left.v_outer : v_outer;
      x_step = mask ? F{} + left.x_step : x_step;
      x_inner = mask ? F{} + left.x_inner : x_inner;
    }
    F v = (to_float(outside) + R{0.5}) * v_step + v_outer;
    I tail = v < (F{} + v_split);
    F x = (to_float(inside) + R{0.5}) * x_step + x_inner;
    F w = (c - d * v) * v;
    w = w_inner - natural_log<P>(w);
    w = w - R{2};
    F z = horner(P::centre, w) * x;
    if (any(tail)) {
      F t = square_root(l_inner - natural_log<P>(v));
      F correction = horner(P::numerator, t) / horner(P::denominator, t);
      t = t * static_cast<R>(0x1.6a09e667f3bcdp+0) - correction;
      z = tail ? t : z;
    }
    if constexpr (sides != Sides::one) z = bits<F>(bits<U>(z) ^ (is_left << (P::bits - 1)));
    F value = z * scale + mean;
    return minimum(maximum(value, F{} + low), F{} + high);
  }
};

}  // namespace goodinit::GOODINIT_ISA
