// Philox4x32-10 of many blocks at once (Salmon et al. 2011, section 3.3).
#pragma once

#include "vector.hpp"

namespace goodinit::GOODINIT_ISA {

// The four words of kHalf blocks, in the low halves of 64-bit lanes; the high halves are not clean.
struct Words {
  u64 word[4];
};

inline Words philox(u64 blocks, std::uint64_t key, std::uint32_t draw, std::uint32_t stream) {
  constexpr std::uint32_t m0 = 0xD2511F53, m1 = 0xCD9E8D57, w0 = 0x9E3779B9, w1 = 0xBB67AE85;
  const u64 multiplier0 = u64{} + m0, multiplier1 = u64{} + m1;
  u64 c0 = blocks, c1 = blocks >> 32, c2 = u64{} + draw, c3 = u64{} + stream;
  auto k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
    const u64 p0 = multiply_low(c0, multiplier0), p1 = multiply_low(c2, multiplier1);
    c0 = high_half(p1) ^ c1 ^ k0;
    c2 = high_half(p0) ^ c3 ^ k1;
    c1 = p1;
    c3 = p0;
    k0 += w0;
    k1 += w1;
  }
  return {{c0, c1, c2, c3}};
}

// 32-bit lanes 2i from `even`, 2i + 1 from `odd`.
inline u32 pack(u64 even, u64 odd) { return bits<u32>((even & 0xFFFFFFFFu) | (odd << 32)); }

}  // namespace goodinit::GOODINIT_ISA
