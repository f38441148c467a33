// One instruction set's kernels: compiled once for each, with -DGOODINIT_ISA=<name>.
#include <climits>
#include <type_traits>

#include "fill.hpp"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace goodinit::GOODINIT_ISA {

namespace {

template <class P>
using OneSided = TruncatedLaw<P, Sides::one>;
template <class P>
using Symmetric = TruncatedLaw<P, Sides::symmetric>;
template <class P>
using TwoSided = TruncatedLaw<P, Sides::two>;

bool operator==(const TruncationSide& a, const TruncationSide& b) {
  return a.v_outer == b.v_outer && a.v_step == b.v_step && a.x_inner == b.x_inner && a.x_step == b.x_step;
}

// A caller may flush subnormal numbers to zero or round otherwise; the bits must not depend on it.
class PlainArithmetic {
#if defined(__x86_64__)
  unsigned saved_ = _mm_getcsr();

 public:
  PlainArithmetic() { _mm_setcsr(0x1F80); }
  ~PlainArithmetic() { _mm_setcsr(saved_); }
#elif defined(__aarch64__)
  std::uint64_t saved_;

 public:
  PlainArithmetic() {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    asm volatile("msr fpcr, %0" ::"r"(std::uint64_t{0}));
  }
  ~PlainArithmetic() { asm volatile("msr fpcr, %0" ::"r"(saved_)); }
#else
 public:
  PlainArithmetic() {}
#endif
};

}  // namespace

void fill(const Box& box, const Draw& draw, std::int64_t first, std::int64_t last) {
#if defined(GOODINIT_PLANTED_FAULT)  // for tools/with_kernels.py, which must see it found
  if (volatile int most = INT_MAX; draw.key == 0xFA017) most = most + 1;
#endif
  const PlainArithmetic plain;
  switch (draw.law) {
    case Law::uniform:
      return fill_typed<UniformLaw>(box, draw, first, last);
    case Law::normal:
      return fill_typed<NormalLaw>(box, draw, first, last);
    case Law::truncated_normal:
      if (draw.parameters.left_count == 0) return fill_typed<OneSided>(box, draw, first, last);
      if (draw.parameters.left == draw.parameters.right) return fill_typed<Symmetric>(box, draw, first, last);
      return fill_typed<TwoSided>(box, draw, first, last);
  }
}

}  // namespace goodinit::GOODINIT_ISA
