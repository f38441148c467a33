// The number formats and constants of float32 and float64; rng/elementary.py is the specification.
#pragma once

#include "quantile_coefficients.hpp"
#include "vector.hpp"

namespace goodinit::GOODINIT_ISA {

struct Single {
  using real = float;
  using uint = std::uint32_t;
  using F = f32;
  using U = u32;
  static constexpr int bits = 32, mantissa_bits = 23, integer_bits = 32;
  static constexpr std::uint32_t sqrt_half = 0x3F3504F3;
  static constexpr float ln2_high = 0.693359375f, ln2_low = -2.1219444005469058277e-4f;
  // 2/(2n + 3); (-1)^n/(2n + 1)!; (-1)^n/(2n)!
  static constexpr float log_series[] = {2.0 / 3, 2.0 / 5, 2.0 / 7, 2.0 / 9};
  static constexpr float sine_series[] = {1.0, -1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880};
  static constexpr float cosine_series[] = {1.0, -1.0 / 2, 1.0 / 24, -1.0 / 720, 1.0 / 40320, -1.0 / 3628800};
  static constexpr auto& centre = quantile::centre_float32;
  static constexpr auto& numerator = quantile::tail_numerator_float32;
  static constexpr auto& denominator = quantile::tail_denominator_float32;
};

struct Double {
  using real = double;
  using uint = std::uint64_t;
  using F = f64;
  using U = u64;
  static constexpr int bits = 64, mantissa_bits = 52, integer_bits = 53;
  static constexpr std::uint64_t sqrt_half = 0x3FE6A09E667F3BCD;
  static constexpr double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
  static constexpr double log_series[] = {2.0 / 3,  2.0 / 5,  2.0 / 7,  2.0 / 9,  2.0 / 11,
                                          2.0 / 13, 2.0 / 15, 2.0 / 17, 2.0 / 19, 2.0 / 21};
  static constexpr double sine_series[] = {1.0,
                                           -1.0 / 6,
                                           1.0 / 120,
                                           -1.0 / 5040,
                                           1.0 / 362880,
                                           -1.0 / 39916800,
                                           1.0 / 6227020800,
                                           -1.0 / 1307674368000,
                                           1.0 / 355687428096000};
  static constexpr double cosine_series[] = {1.0,
                                             -1.0 / 2,
                                             1.0 / 24,
                                             -1.0 / 720,
                                             1.0 / 40320,
                                             -1.0 / 3628800,
                                             1.0 / 479001600,
                                             -1.0 / 87178291200,
                                             1.0 / 20922789888000};
  static constexpr auto& centre = quantile::centre_float64;
  static constexpr auto& numerator = quantile::tail_numerator_float64;
  static constexpr auto& denominator = quantile::tail_denominator_float64;
};

}  // namespace goodinit::GOODINIT_ISA
