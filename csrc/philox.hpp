// Philox4x32-10 of many blocks at once (Salmon et al. 2011, section 3.3).
#pragma once

#include "vector.hpp"

namespace goodinit::GOODINIT_ISA {

inline constexpr std::uint32_t kM0 = 0xD2511F53, kM1 = 0xCD9E8D57;  // Salmon et al., table 2
inline constexpr std::uint32_t kW0 = 0x9E3779B9, kW1 = 0xBB67AE85;  // section 3.3

// The words c0 ... c3 of kHalf blocks are never made before the end. What a round needs are the products of the
// two rounds before it: c0 = high(p1) ^ low(before1) ^ key, c1 = low(p1), c2 and c3 likewise with p0.
class Philox {
 public:
  struct State {
    u64 p0, p1, before0, before1;
  };

  Philox(std::uint64_t key, std::uint32_t draw, std::uint32_t stream) : draw_(draw), stream_(stream) {
    auto k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round, k0 += kW0, k1 += kW1) key0_[round] = k0, key1_[round] = k1;
  }

  // Any blocks: `first` points at kHalf of them for each state.
  void scattered(const std::uint64_t* blocks, State* first, State* last) const {
    for (State* s = first; s != last; ++s, blocks += kHalf) {
      const u64 low = load<u64>(blocks);
      const State start{multiply_low(low, all<u64>(kM0)), multiply_low(all<u64>(draw_), all<u64>(kM1)),
                        all<u64>(stream_), low >> 32};
      *s = next(0, start);
    }
    finish(1, first, last);
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

  // Blocks that all have the high word of `shared`, each state's kHalf on from those of the one before.
  void consecutive(u64 blocks, const Shared& shared, State* first, State* last) const {
    const u64 m0 = all<u64>(kM0), m1 = all<u64>(kM1);
    u64 p = multiply_low(blocks, m0);
    for (State* s = first; s != last; ++s, p = p + std::uint64_t{kHalf} * kM0) {
      const u64 before1 = multiply_low(high_half(p) ^ shared.a, m1);
      const u64 p0 = multiply_low(high_half(before1) ^ shared.b, m0), p1 = multiply_low(p ^ shared.c, m1);
      *s = {multiply_low(high_half(p1) ^ before1 ^ key0_[2], m0), multiply_low(high_half(p0) ^ shared.d, m1), p0, p1};
    }
    finish(3, first, last);
  }

  // c0 and c2 of one draw, or one of them of two draws, the second in the high halves: from p, before and keys of both.
  static GOODINIT_INLINE u32 words(u64 p_low, u64 p_high, u64 before_low, u64 before_high, std::uint64_t keys) {
    return pack_high(p_low, p_high) ^ pack(before_low, before_high) ^ as_words(all<u64>(keys));
  }
  std::uint64_t last_key0() const { return key0_[9]; }
  std::uint64_t last_key1() const { return key1_[9]; }

 private:
  GOODINIT_INLINE State next(int round, const State& s) const {
    return {multiply_low(high_half_of(s.p1) ^ s.before1 ^ key0_[round], all<u64>(kM0)),
            multiply_low(high_half_of(s.p0) ^ s.before0 ^ key1_[round], all<u64>(kM1)), s.p0, s.p1};
  }

  // Each round waits for the one before, so two rounds of all states come before the next two of any.
  GOODINIT_INLINE void finish(int done, State* first, State* last) const {
    for (int round = done; round < 9; round += 2)
      for (State* s = first; s != last; ++s) *s = next(round + 1, next(round, *s));
  }

  std::uint32_t draw_, stream_;
  // As wide as the lanes that they meet, so that they can be broadcast from memory.
  std::uint64_t key0_[10], key1_[10];
};

}  // namespace goodinit::GOODINIT_ISA
