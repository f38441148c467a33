// Philox4x32-10 of many blocks at once (Salmon et al. 2011, section 3.3).
#pragma once

#include "lockstep.hpp"

namespace goodinit::GOODINIT_ISA {

// The four words of blocks, in the low halves of 64-bit lanes; the high halves are not clean.
template <class Blocks>
struct Words {
  Blocks first, second, third, fourth;
};

inline constexpr std::uint32_t kM0 = 0xD2511F53, kM1 = 0xCD9E8D57;  // Salmon et al., table 2
inline constexpr std::uint32_t kW0 = 0x9E3779B9, kW1 = 0xBB67AE85;  // section 3.3

class Philox {
 public:
  Philox(std::uint64_t key, std::uint32_t draw, std::uint32_t stream) : draw_(draw), stream_(stream) {
    auto k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round, k0 += kW0, k1 += kW1) key0_[round] = k0, key1_[round] = k1;
  }

  // Any blocks.
  template <class Blocks>
  GOODINIT_INLINE Words<Blocks> operator()(Blocks blocks) const {
    Blocks c0 = blocks, c1 = blocks >> 32;
    Blocks c2 = Fill<Blocks>::with(draw_), c3 = Fill<Blocks>::with(stream_);
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) one_round(round, c0, c1, c2, c3);
    return {c0, c1, c2, c3};
  }

  // What blocks with one high word share of the first three rounds.
  struct Shared {
    std::uint64_t a, b, c, d;
  };
  Shared shared(std::uint32_t high) const {
    const std::uint64_t p1 = std::uint64_t{draw_} * kM1;
    const std::uint64_t p0 = std::uint64_t{static_cast<std::uint32_t>(p1 >> 32) ^ high ^ key0_[0]} * kM0;
    return {stream_ ^ key1_[0], (p1 & 0xFFFFFFFFu) ^ key0_[1], (p0 >> 32) ^ key1_[1], (p0 & 0xFFFFFFFFu) ^ key1_[2]};
  }

  // Blocks that all have the high word of `shared`; their high halves are not looked at.
  template <class Blocks>
  GOODINIT_INLINE Words<Blocks> operator()(Blocks blocks, const Shared& shared) const {
    const Blocks m0 = Fill<Blocks>::with(kM0), m1 = Fill<Blocks>::with(kM1);
    const Blocks p0 = multiply_low(blocks, m0);
    const Blocks p1 = multiply_low(high_half(p0) ^ shared.a, m1);
    const Blocks q0 = multiply_low(high_half(p1) ^ shared.b, m0);
    const Blocks q1 = multiply_low(p0 ^ shared.c, m1);
    Blocks c0 = high_half(q1) ^ p1 ^ key0_[2], c1 = q1, c2 = high_half(q0) ^ shared.d, c3 = q0;
#pragma GCC unroll 7
    for (int round = 3; round < 10; ++round) one_round(round, c0, c1, c2, c3);
    return {c0, c1, c2, c3};
  }

 private:
  template <class Blocks>
  GOODINIT_INLINE void one_round(int round, Blocks& c0, Blocks& c1, Blocks& c2, Blocks& c3) const {
    const Blocks p0 = multiply_low(c0, Fill<Blocks>::with(kM0)), p1 = multiply_low(c2, Fill<Blocks>::with(kM1));
    c0 = high_half(p1) ^ c1 ^ key0_[round];
    c2 = high_half(p0) ^ c3 ^ key1_[round];
    c1 = p1;
    c3 = p0;
  }

  std::uint32_t draw_, stream_;
  // As wide as the lanes that they meet, so that they can be broadcast from memory.
  std::uint64_t key0_[10], key1_[10];
};

}  // namespace goodinit::GOODINIT_ISA
