// Two values in step: every operation is done on both before the next, so that a processor always has
// independent work beside a long chain of dependent operations.
#pragma once

#include "vector.hpp"

namespace goodinit::GOODINIT_ISA {

template <class V>
struct Two {
  V a, b;
};

#define GOODINIT_BINARY(op)                                                                          \
  template <class V>                                                                                 \
  GOODINIT_INLINE Two<V> operator op(Two<V> x, Two<V> y) {                                           \
    return {x.a op y.a, x.b op y.b};                                                                 \
  }                                                                                                  \
  template <class V, class Scalar>                                                                   \
    requires std::is_arithmetic_v<Scalar>                                                            \
  GOODINIT_INLINE Two<V> operator op(Two<V> x, Scalar y) {                                           \
    return {x.a op y, x.b op y};                                                                     \
  }                                                                                                  \
  template <class V, class Scalar>                                                                   \
    requires std::is_arithmetic_v<Scalar>                                                            \
  GOODINIT_INLINE Two<V> operator op(Scalar x, Two<V> y) {                                           \
    return {x op y.a, x op y.b};                                                                     \
  }
GOODINIT_BINARY(+)
GOODINIT_BINARY(-)
GOODINIT_BINARY(*)
GOODINIT_BINARY(/)
GOODINIT_BINARY(&)
GOODINIT_BINARY(^)
GOODINIT_BINARY(|)
GOODINIT_BINARY(<<)
GOODINIT_BINARY(>>)
#undef GOODINIT_BINARY

#define GOODINIT_UNARY(name)                                                                         \
  template <class V>                                                                                 \
  GOODINIT_INLINE auto name(Two<V> x) {                                                              \
    return Two<decltype(name(x.a))>{name(x.a), name(x.b)};                                           \
  }
GOODINIT_UNARY(as_float)
GOODINIT_UNARY(as_unsigned)
GOODINIT_UNARY(as_signed)
GOODINIT_UNARY(to_float)
GOODINIT_UNARY(square_root)
GOODINIT_UNARY(high_half)
#undef GOODINIT_UNARY

#define GOODINIT_PAIRWISE(name)                                                                      \
  template <class V>                                                                                 \
  GOODINIT_INLINE auto name(Two<V> x, Two<V> y) {                                                    \
    return Two<decltype(name(x.a, y.a))>{name(x.a, y.a), name(x.b, y.b)};                            \
  }
GOODINIT_PAIRWISE(less)
GOODINIT_PAIRWISE(maximum)
GOODINIT_PAIRWISE(minimum)
GOODINIT_PAIRWISE(multiply_low)
GOODINIT_PAIRWISE(pack)
#undef GOODINIT_PAIRWISE

template <class Mask, class V>
GOODINIT_INLINE Two<V> select(Two<Mask> mask, Two<V> yes, Two<V> no) {
  return {select(mask.a, yes.a, no.a), select(mask.b, yes.b, no.b)};
}

template <class I, class F>
GOODINIT_INLINE void swap_where_negative(Two<I> x, Two<F>& a, Two<F>& b) {
  swap_where_negative(x.a, a.a, b.a);
  swap_where_negative(x.b, a.b, b.b);
}

template <class V>
GOODINIT_INLINE bool any(Two<V> mask) {
  return any(mask.a | mask.b);
}

// One value in every lane.
template <class V>
struct Fill {
  template <class Scalar>
  static GOODINIT_INLINE V with(Scalar value) {
    return V{} + value;
  }
};
template <class V>
struct Fill<Two<V>> {
  template <class Scalar>
  static GOODINIT_INLINE Two<V> with(Scalar value) {
    return {Fill<V>::with(value), Fill<V>::with(value)};
  }
};

}  // namespace goodinit::GOODINIT_ISA
