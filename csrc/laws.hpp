// Uniform, normal and truncated normal values from random integers; rng/laws.py and
// rng/truncated.py are the specification.
#pragma once

#include "elementary.hpp"
#include "parameters.hpp"

namespace goodinit::GOODINIT_ISA {

template <class P>
inline typename P::F absolute(typename P::F x) {
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

  // Integers of the four places of each block to their values.
  void operator()(const typename P::U (&integers)[4], typename P::F (&values)[4]) const {
    using F = typename P::F;
    constexpr int shift = P::bits - P::mantissa_bits - 1;
    constexpr auto unit = typename P::real{1} / (typename P::uint{1} << (P::mantissa_bits + 1));
    const F top = F{} + high;
    for (int place = 0; place < 4; ++place) {
      // Below 2^24 (2^53), so the signed conversion, which every machine has, is exact.
      F value = to_float(bits<typename P::I>(integers[place] >> shift)) * unit * span + low;
      values[place] = value < top ? value : top;
    }
  }
};

template <class P>
struct NormalLaw {
  typename P::real mean, std;

  explicit NormalLaw(const Parameters& p)
      : mean(static_cast<typename P::real>(p.mean)), std(static_cast<typename P::real>(p.std)) {}

  void operator()(const typename P::U (&integers)[4], typename P::F (&values)[4]) const {
    for (int pair = 0; pair < 4; pair += 2) {
      box_muller(integers[pair], integers[pair + 1], values[pair], values[pair + 1]);
      values[pair] = values[pair] * std + mean;
      values[pair + 1] = values[pair + 1] * std + mean;
    }
  }

 private:
  static void box_muller(typename P::U even, typename P::U odd, typename P::F& first, typename P::F& second) {
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
    first = bits<F>(a) * radius;
    second = bits<F>(b) * radius;
  }
};

template <class P>
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
  typename P::uint left_count;
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

  void operator()(const typename P::U (&integers)[4], typename P::F (&values)[4]) const {
#pragma GCC unroll 4
    for (int place = 0; place < 4; ++place) {
      if constexpr (P::bits == 32) {
        values[place] = one(integers[place]);
      } else {
        values[place] = one(integers[place] >> 11);
      }
    }
  }

 private:
  typename P::F one(typename P::U integer) const {
    using F = typename P::F;
    using U = typename P::U;
    using I = typename P::I;
    constexpr auto top = static_cast<typename P::uint>((std::uint64_t{1} << (P::integer_bits - 1)) * 2 - 1);
    U inside = integer - left_count, outside = integer ^ top;
    U is_left{};
    F v_step = F{} + right.v_step, v_outer = F{} + right.v_outer;
    F x_step = F{} + right.x_step, x_inner = F{} + right.x_inner;
    if (left_count != 0) {
      // All ones on the left side: it turns n - k into k, since -n - 1 is ~n.
      I mask = integer < (U{} + left_count);
      is_left = bits<U>(mask);
      inside ^= is_left;
      outside ^= is_left & top;
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
    z = bits<F>(bits<U>(z) ^ (is_left << (P::bits - 1)));
    F value = z * scale + mean;
    const F bottom = F{} + low, ceiling = F{} + high;
    value = value > bottom ? value : bottom;
    return value < ceiling ? value : ceiling;
  }
};

}  // namespace goodinit::GOODINIT_ISA
