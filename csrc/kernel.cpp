// One instruction set's kernels: compiled once for each, with -DGOODINIT_ISA=<name>.
#include <type_traits>

#include "fill.hpp"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace goodinit::GOODINIT_ISA {

namespace {

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
  const PlainArithmetic plain;
  switch (draw.law) {
    case Law::uniform:
      return fill_typed<UniformLaw>(box, draw, first, last);
    case Law::normal:
      return fill_typed<NormalLaw>(box, draw, first, last);
    case Law::truncated_normal:
      return fill_typed<TruncatedLaw>(box, draw, first, last);
  }
}

}  // namespace goodinit::GOODINIT_ISA
