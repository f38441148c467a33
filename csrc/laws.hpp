// Uniform, normal and truncated normal values from random integers; rng/laws.py and
// rng/truncated.py are the specification.
#pragma once

#include "elementary.hpp"
#include "parameters.hpp"

namespace goodinit::GOODINIT_ISA {

// Each law turns the integers of the elements 2k and 2k + 1 of some blocks into their values. It prepares a row
// of drafts in steps, each over the whole row before the next: a processor looks no further ahead than about a
// hundred operations, which in a short step belong to several drafts and need not wait for each other.

template <class P>
class UniformLaw {
 public:
  using F = typename P::F;
  struct Draft {
    typename P::U even, odd;
  };

  explicit UniformLaw(const Parameters& p)
      : low(static_cast<typename P::real>(p.low)),
        span(static_cast<typename P::real>(p.span)),
        high(static_cast<typename P::real>(p.high)) {}

  void prepare(Draft*, Draft*) const {}

  GOODINIT_INLINE void finish(const Draft& draft, F& first, F& second) const {
    first = one(draft.even);
    second = one(draft.odd);
  }

 private:
  GOODINIT_INLINE F one(typename P::U integer) const {
    constexpr int shift = P::bits - P::mantissa_bits - 1;
    constexpr auto unit = typename P::real{1} / (typename P::uint{1} << (P::mantissa_bits + 1));
    // Below 2^24 (2^53), so the signed conversion, which every machine has, is exact.
    const F value = to_float(as_signed(integer >> shift)) * unit * span + low;
    return minimum(value, all<F>(high));
  }

  typename P::real low, span, high;
};

template <class P>
class NormalLaw {
 public:
  using F = typename P::F;
  using U = typename P::U;
  using Log = Logarithm<P, -2, P::integer_bits>;
  struct Draft {
    U even, odd;
    Log log;
    F radius, sine, cosine;
  };

  explicit NormalLaw(const Parameters& p)
      : mean(static_cast<typename P::real>(p.mean)), std(static_cast<typename P::real>(p.std)) {}

  void prepare(Draft* begin, Draft* end) const {
    for (Draft* d = begin; d != end; ++d) {
      if constexpr (P::bits == 32) {
        d->log = Log::of(to_float(d->even) + 0.5f);
      } else {
        d->log = Log::of(to_float(d->even >> 11) + 0.5);
      }
    }
    // At u = 1 the sum ends in 0 - 0 = 0, so that no radius is -0.
    for (Draft* d = begin; d != end; ++d) d->radius = square_root(d->log.value());

    constexpr double quarter = 0x1.921fb54442d18p-1;  // pi/4
    constexpr auto step = static_cast<typename P::real>(P::bits == 32 ? quarter * 0x1p-31 : quarter * 0x1p-63);
    for (Draft* d = begin; d != end; ++d)
      sine_cosine<P>(to_float(as_signed((d->odd << 2) | typename P::uint{2})) * step, d->sine, d->cosine);
  }

  GOODINIT_INLINE void finish(const Draft& d, F& first, F& second) const {
    // The leading bits: a quarter turn swaps sine and cosine, a half turn flips both signs.
    constexpr auto sign = static_cast<typename P::uint>(typename P::uint{1} << (P::bits - 1));
    const U quarter = negative(d.odd << 1), sine = as_unsigned(d.sine), cosine = as_unsigned(d.cosine);
    const U change = ((cosine ^ sine) & quarter) ^ (d.odd & sign);
    const U a = cosine ^ change ^ (quarter & sign), b = sine ^ change;
    first = as_float(a) * d.radius * std + mean;
    second = as_float(b) * d.radius * std + mean;
  }

 private:
  typename P::real mean, std;
};

// Which sides of 0 an interval covers; where it is symmetric both have the same constants.
enum class Sides { one, symmetric, two };

template <class P, Sides sides>
class TruncatedLaw {
 public:
  using R = typename P::real;
  using F = typename P::F;
  using U = typename P::U;
  using Log = Logarithm<P>;
  struct Value {
    F v, x, w, z;
    Log log;
  };
  struct Draft {
    U even, odd;
    Value first, second;
  };

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

  void prepare(Draft* begin, Draft* end) const {
    for (Draft* t = begin; t != end; ++t) {
      start(t->even, t->first);
      start(t->odd, t->second);
    }
    for (Draft* t = begin; t != end; ++t) {
      t->first.w = w_inner - t->first.log.value();
      t->second.w = w_inner - t->second.log.value();
    }
    for (Draft* t = begin; t != end; ++t) {
      t->first.z = horner(P::centre, t->first.w - R{2}) * t->first.x;
      t->second.z = horner(P::centre, t->second.w - R{2}) * t->second.x;
    }
  }

  GOODINIT_INLINE void finish(const Draft& t, F& first, F& second) const {
    first = last(t.first, t.even);
    second = last(t.second, t.odd);
  }

 private:
  struct Side {
    R v_outer, v_step, x_inner, x_step;
    explicit Side(const TruncationSide& s)
        : v_outer(static_cast<R>(s.v_outer)),
          v_step(static_cast<R>(s.v_step)),
          x_inner(static_cast<R>(s.x_inner)),
          x_step(static_cast<R>(s.x_step)) {}
  };

  // Leaves the mask of the left side, all ones there, in the place of the integer.
  GOODINIT_INLINE void start(U& integer, Value& t) const {
    constexpr int unused = P::bits - P::integer_bits;
    constexpr auto top = static_cast<typename P::uint>((std::uint64_t{1} << (P::integer_bits - 1)) * 2 - 1);
    const U n = integer >> unused;
    U inside = n - left_count, outside = n ^ top;
    F v_step = all<F>(right.v_step), v_outer = all<F>(right.v_outer);
    F x_step = all<F>(right.x_step), x_inner = all<F>(right.x_inner);
    if constexpr (sides != Sides::one) {
      // It turns n - k into k, since -n - 1 is ~n.
      const auto mask = less(n, all<U>(left_count));
      integer = as_unsigned(mask);
      inside = inside ^ integer;
      outside = outside ^ (integer & top);
      if constexpr (sides == Sides::two) {
        v_step = select(mask, all<F>(left.v_step), v_step);
        v_outer = select(mask, all<F>(left.v_outer), v_outer);
        x_step = select(mask, all<F>(left.x_step), x_step);
        x_inner = select(mask, all<F>(left.x_inner), x_inner);
      }
    }
    t.v = (to_float(outside) + R{0.5}) * v_step + v_outer;
    t.x = (to_float(inside) + R{0.5}) * x_step + x_inner;
    t.log = Log::of((c - d * t.v) * t.v);
  }

  GOODINIT_INLINE F last(const Value& t, U is_left) const {
    F z = t.z;
    const auto tail = less(t.v, all<F>(v_split));
    if (any(tail)) {
      F u = square_root(l_inner - Log::of(t.v).value());
      const F correction = horner(P::numerator, u) / horner(P::denominator, u);
      u = u * static_cast<R>(0x1.6a09e667f3bcdp+0) - correction;
      z = select(tail, u, z);
    }
    if constexpr (sides != Sides::one) z = as_float(as_unsigned(z) ^ (is_left << (P::bits - 1)));
    const F value = z * scale + mean;
    return minimum(maximum(value, all<F>(low)), all<F>(high));
  }

  typename P::uint left_count;  // 0 with one side
  Side left, right;
  R w_inner, c, d, l_inner, v_split, mean, scale, low, high;
};

}  // namespace goodinit::GOODINIT_ISA
