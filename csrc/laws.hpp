// Uniform, normal and truncated normal values from random integers; rng/laws.py and
// rng/truncated.py are the specification.
#pragma once

#include "elementary.hpp"
#include "parameters.hpp"

namespace goodinit::GOODINIT_ISA {

// Each law turns the integers of the elements 2k and 2k + 1 of some blocks into their values.

template <class P>
struct UniformLaw {
  typename P::real low, span, high;

  explicit UniformLaw(const Parameters& p)
      : low(static_cast<typename P::real>(p.low)),
        span(static_cast<typename P::real>(p.span)),
        high(static_cast<typename P::real>(p.high)) {}

  template <class U, class F>
  GOODINIT_INLINE void operator()(U even, U odd, F& first, F& second) const {
    first = one<F>(even);
    second = one<F>(odd);
  }

 private:
  template <class F, class U>
  GOODINIT_INLINE F one(U integer) const {
    constexpr int shift = P::bits - P::mantissa_bits - 1;
    constexpr auto unit = typename P::real{1} / (typename P::uint{1} << (P::mantissa_bits + 1));
    // Below 2^24 (2^53), so the signed conversion, which every machine has, is exact.
    const F value = to_float(as_signed(integer >> shift)) * unit * span + low;
    return minimum(value, Fill<F>::with(high));
  }
};

template <class P>
struct NormalLaw {
  typename P::real mean, std;

  explicit NormalLaw(const Parameters& p)
      : mean(static_cast<typename P::real>(p.mean)), std(static_cast<typename P::real>(p.std)) {}

  template <class U, class F>
  GOODINIT_INLINE void operator()(U even, U odd, F& first, F& second) const {
    F u;
    if constexpr (P::bits == 32) {
      u = to_float(even) + 0.5f;
    } else {
      u = to_float(even >> 11) + 0.5;
    }
    // At u = 1 the sum ends in 0 - 0 = 0, so that no radius is -0.
    const F radius = square_root(natural_log<P, -2, P::integer_bits>(u));

    constexpr double quarter = 0x1.921fb54442d18p-1;  // pi/4
    constexpr auto step = static_cast<typename P::real>(P::bits == 32 ? quarter * 0x1p-31 : quarter * 0x1p-63);
    F sine, cosine;
    sine_cosine<P>(to_float(as_signed((odd << 2) | typename P::uint{2})) * step, sine, cosine);

    // The leading bits: a quarter turn swaps sine and cosine, a half turn flips both signs.
    constexpr auto sign = static_cast<typename P::uint>(typename P::uint{1} << (P::bits - 1));
    swap_where_negative(as_signed(odd << 1), sine, cosine);
    const U a = as_unsigned(cosine) ^ ((odd ^ (odd << 1)) & sign), b = as_unsigned(sine) ^ (odd & sign);
    first = as_float(a) * radius * std + mean;
    second = as_float(b) * radius * std + mean;
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

  template <class U, class F>
  GOODINIT_INLINE void operator()(U even, U odd, F& first, F& second) const {
    constexpr int unused = P::bits - P::integer_bits;
    const Two<F> values = both<Two<F>>(Two<U>{even >> unused, odd >> unused});
    first = values.a;
    second = values.b;
  }

 private:
  template <class F, class U>
  GOODINIT_INLINE F both(U integer) const {
    constexpr auto top = static_cast<typename P::uint>((std::uint64_t{1} << (P::integer_bits - 1)) * 2 - 1);
    U inside = integer - left_count, outside = integer ^ top, is_left;
    F v_step = Fill<F>::with(right.v_step), v_outer = Fill<F>::with(right.v_outer);
    F x_step = Fill<F>::with(right.x_step), x_inner = Fill<F>::with(right.x_inner);
    if constexpr (sides != Sides::one) {
      // All ones on the left side: it turns n - k into k, since -n - 1 is ~n.
      const auto mask = less(integer, Fill<U>::with(left_count));
      is_left = as_unsigned(mask);
      inside = inside ^ is_left;
      outside = outside ^ (is_left & top);
      if constexpr (sides == Sides::two) {
        v_step = select(mask, Fill<F>::with(left.v_step), v_step);
        v_outer = select(mask, Fill<F>::with(left.v_outer), v_outer);
        x_step = select(mask, Fill<F>::with(left.x_step), x_step);
        x_inner = select(mask, Fill<F>::with(left.x_inner), x_inner);
      }
    }
    const F v = (to_float(outside) + R{0.5}) * v_step + v_outer;
    const auto tail = less(v, Fill<F>::with(v_split));
    const F x = (to_float(inside) + R{0.5}) * x_step + x_inner;
    F w = (c - d * v) * v;
    w = w_inner - natural_log<P>(w);
    w = w - R{2};
    F z = horner(P::centre, w) * x;
    if (any(tail)) {
      F t = square_root(l_inner - natural_log<P>(v));
      const F correction = horner(P::numerator, t) / horner(P::denominator, t);
      t = t * static_cast<R>(0x1.6a09e667f3bcdp+0) - correction;
      z = select(tail, t, z);
    }
    if constexpr (sides != Sides::one) z = as_float(as_unsigned(z) ^ (is_left << (P::bits - 1)));
    const F value = z * scale + mean;
    return minimum(maximum(value, Fill<F>::with(low)), Fill<F>::with(high));
  }
};

}  // namespace goodinit::GOODINIT_ISA
