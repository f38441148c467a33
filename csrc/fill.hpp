// Boxes of values: blocks to groups, groups to memory.
#pragma once

#include <algorithm>

#include "laws.hpp"
#include "philox.hpp"

namespace goodinit::GOODINIT_ISA {

// The values of a group of blocks in the order of elements. `Blocks` holds as many blocks in lockstep as
// keep a processor busy with float32; a float64 takes two words and so fills as many registers with half.
template <class Law>
class SingleGroup {
 public:
  using Real = float;
  using Blocks = Two<u64>;
  static constexpr int kBlocks = 2 * kHalf;
  struct Values {
    f32 part[4];
  };
  using Shared = Philox::Shared;

  explicit SingleGroup(const Draw& draw) : law_(draw.parameters), philox_(draw.key, 0, draw.stream) {}

  GOODINIT_INLINE Values scattered(Blocks blocks) const { return finish(philox_(blocks)); }
  Shared shared(std::uint32_t high) const { return philox_.shared(high); }
  GOODINIT_INLINE Values consecutive(Blocks blocks, const Shared& shared) const {
    return finish(philox_(blocks, shared));
  }

 private:
  GOODINIT_INLINE Values finish(const Words<Blocks>& words) const {
    Two<f32> even, odd;
    law_(pack(words.first, words.third), pack(words.second, words.fourth), even, odd);
    Values out;
    interleave(even.a, odd.a, out.part[0], out.part[1]);
    interleave(even.b, odd.b, out.part[2], out.part[3]);
    return out;
  }

  Law law_;
  Philox philox_;
};

template <class Law>
class DoubleGroup {
 public:
  using Real = double;
  using Blocks = u64;
  static constexpr int kBlocks = kHalf;
  struct Values {
    f64 part[4];
  };
  struct Shared {
    Philox::Shared high, low;
  };

  explicit DoubleGroup(const Draw& draw)
      : law_(draw.parameters), high_(draw.key, 0, draw.stream), low_(draw.key, 1, draw.stream) {}

  GOODINIT_INLINE Values scattered(Blocks blocks) const { return finish(high_(blocks), low_(blocks)); }
  Shared shared(std::uint32_t high) const { return {high_.shared(high), low_.shared(high)}; }
  GOODINIT_INLINE Values consecutive(Blocks blocks, const Shared& shared) const {
    return finish(high_(blocks, shared.high), low_(blocks, shared.low));
  }

 private:
  static GOODINIT_INLINE u64 join(u64 high, u64 low) { return bits<u64>(pack(low, high)); }

  GOODINIT_INLINE Values finish(const Words<Blocks>& high, const Words<Blocks>& low) const {
    Two<f64> even, odd;
    law_(Two<u64>{join(high.first, low.first), join(high.third, low.third)},
         Two<u64>{join(high.second, low.second), join(high.fourth, low.fourth)}, even, odd);
    Values out;
    interleave(even.a, odd.a, even.b, odd.b, out.part);
    return out;
  }

  Law law_;
  Philox high_, low_;
};

// --- rounding to the stored type ------------------------------------------------------------

inline std::uint16_t to_bfloat16(float value) {
  auto x = bits<std::uint32_t>(value);
  return static_cast<std::uint16_t>((x + 0x7FFFu + ((x >> 16) & 1)) >> 16);
}

// Round to nearest even by way of a float addition that puts the last kept bit at 2^-24 of its sum.
inline std::uint16_t to_float16(float value) {
  const auto x = bits<std::uint32_t>(value);
  const std::uint32_t sign = (x >> 16) & 0x8000u, size = x & 0x7FFFFFFFu;
  if (size >= 0x47800000u) return static_cast<std::uint16_t>(sign | 0x7C00u);  // 65536 and above
  if (size < 0x38800000u) {                                                    // subnormal in float16
    const float moved = bits<float>(size) + 0.5f;
    return static_cast<std::uint16_t>(sign | (bits<std::uint32_t>(moved) - 0x3F000000u));
  }
  return static_cast<std::uint16_t>(sign | ((size + 0xC8000FFFu + ((size >> 13) & 1)) >> 13));
}

template <Type type>
struct Stored;
template <>
struct Stored<Type::float32> {
  using T = float;
};
template <>
struct Stored<Type::float64> {
  using T = double;
};
template <>
struct Stored<Type::bfloat16> {
  using T = std::uint16_t;
};
template <>
struct Stored<Type::float16> {
  using T = std::uint16_t;
};

template <Type type, class Real>
inline typename Stored<type>::T rounded(Real value) {
  if constexpr (type == Type::bfloat16) {
    return to_bfloat16(value);
  } else if constexpr (type == Type::float16) {
    return to_float16(value);
  } else {
    return value;
  }
}

// Two vectors of bfloat16 become one whose halves of 128-bit lanes alternate: with the blocks in their
// own order the even ones are in the first vector and the odd ones in the second, which undoes it.
constexpr bool in_own_order(Type type) { return type == Type::bfloat16; }

GOODINIT_INLINE i32 bfloat16_bits(f32 values) {
  u32 x = bits<u32>(values);
  return bits<i32>(x + 0x7FFFu + ((x >> 16) & 1)) >> 16;
}

template <Type type, class Values, class T>
GOODINIT_INLINE void store_group(const Values& values, T* to) {
  if constexpr (type == Type::bfloat16) {
    store(to, narrow(bfloat16_bits(values.part[0]), bfloat16_bits(values.part[1])));
    store(to + kBytes / 2, narrow(bfloat16_bits(values.part[2]), bfloat16_bits(values.part[3])));
  } else {
    for (const auto& part : values.part) {
      constexpr int lanes = sizeof(part) / sizeof(part[0]);
      if constexpr (type == Type::float32 || type == Type::float64) {
        store(to, part);
#if defined(__AVX512F__)
      } else if constexpr (type == Type::float16) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtps_ph(bits<__m512>(part), 0));
#elif defined(__F16C__)
      } else if constexpr (type == Type::float16) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph(bits<__m256>(part), 0));
#endif
      } else {
        for (int lane = 0; lane < lanes; ++lane) store(to + lane, rounded<type>(part[lane]));
      }
      to += lanes;
    }
  }
}

// --- runs ----------------------------------------------------------------------------------

// Elements with consecutive global indices, and where they go.
template <class T>
struct Piece {
  T* to;
  int from, count;  // within the block
};

template <Type type, class Group>
class Writer {
 public:
  using T = typename Stored<type>::T;

  Writer(const Draw& draw, std::int64_t stride) : group_(draw), stride_(stride) {}
  ~Writer() { flush(); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  // Writes `count` elements from global index `index` on.
  void run(std::uint64_t index, std::int64_t count, T* to) {
    // Whole groups go straight to memory; what is left at the ends is gathered, block by block.
    while (count > 0) {
      const int from = static_cast<int>(index & 3);
      if (from == 0 && count >= kGroup) {
        const std::int64_t done = whole_groups(index >> 2, count / kGroup, to) * kGroup;
        advance(index, count, to, done);
        continue;
      }
      const int here = static_cast<int>(std::min<std::int64_t>(4 - from, count));
      blocks_[pending_] = index >> 2;
      pieces_[pending_] = {to, from, here};
      if (++pending_ == kBlocks) flush();
      advance(index, count, to, here);
    }
  }

 private:
  using Blocks = typename Group::Blocks;
  static constexpr int kBlocks = Group::kBlocks, kGroup = 4 * kBlocks;

  void advance(std::uint64_t& index, std::int64_t& count, T*& to, std::int64_t by) const {
    index += static_cast<std::uint64_t>(by);
    count -= by;
    if (count > 0) to += by * stride_;  // behind the last element a stride may lead anywhere
  }

  // Writes groups from `block` on and returns how many: as far as the high word of the blocks stays.
  std::int64_t whole_groups(std::uint64_t block, std::int64_t groups, T* to) {
    const std::uint64_t ahead = ((std::uint64_t{1} << 32) - (block & 0xFFFFFFFFu)) / kBlocks;
    Blocks blocks = places() + block;
    if (ahead == 0) {
      put(group_.scattered(blocks), to, stride_);
      return 1;
    }
    if (static_cast<std::uint64_t>(groups) > ahead) groups = static_cast<std::int64_t>(ahead);
    const auto shared = group_.shared(static_cast<std::uint32_t>(block >> 32));
    const Group group = group_;  // known to stay, whatever is written through `to`
    const std::int64_t stride = stride_;
    if (stride == 1) {
      for (std::int64_t n = 0; n < groups; ++n, blocks = blocks + kBlocks, to += kGroup)
        store_group<type>(group.consecutive(blocks, shared), to);
    } else {
      for (std::int64_t n = 0; n < groups; ++n, blocks = blocks + kBlocks, to += kGroup * stride)
        put(group.consecutive(blocks, shared), to, stride);
    }
    return groups;
  }

  static GOODINIT_INLINE void put(const typename Group::Values& values, T* to, std::int64_t stride) {
    T flat[kGroup];
    store_group<type>(values, flat);
    for (int i = 0; i < kGroup; ++i) store(to + i * stride, flat[i]);
  }

  void flush() {
    if (pending_ == 0) return;
    std::uint64_t lanes[kBlocks];
    place(lanes);
    for (auto& lane : lanes) lane = blocks_[lane < static_cast<std::uint64_t>(pending_) ? lane : 0];
    T flat[kGroup];
    store_group<type>(group_.scattered(load_blocks(lanes)), flat);
    for (int i = 0; i < pending_; ++i)
      for (int j = 0; j < pieces_[i].count; ++j) store(pieces_[i].to + j * stride_, flat[4 * i + pieces_[i].from + j]);
    pending_ = 0;
  }

  // Which of the group's blocks sits in each lane.
  static void place(std::uint64_t (&lanes)[kBlocks]) {
    for (int i = 0; i < kBlocks; ++i) {
      const int lane = i % kHalf, at = in_own_order(type) ? lane : block_at(lane);
      lanes[i] = static_cast<std::uint64_t>(i - lane + at);
    }
  }
  static Blocks load_blocks(const std::uint64_t (&lanes)[kBlocks]) {
    if constexpr (kBlocks == kHalf) {
      return load<u64>(lanes);
    } else {
      return {load<u64>(lanes), load<u64>(lanes + kHalf)};
    }
  }
  static Blocks places() {
    std::uint64_t lanes[kBlocks];
    place(lanes);
    return load_blocks(lanes);
  }

  Group group_;
  std::int64_t stride_;
  int pending_ = 0;
  std::uint64_t blocks_[kBlocks];
  Piece<T> pieces_[kBlocks];
};

template <Type type, class Group>
void fill_range(const Box& box, const Draw& draw, std::int64_t first, std::int64_t last) {
  using T = typename Stored<type>::T;
  const int rank = static_cast<int>(box.size.size());
  const std::int64_t inner = box.size[rank - 1];
  Writer<type, Group> writer(draw, box.stride[rank - 1]);
  for (std::int64_t position = first; position < last;) {
    const std::int64_t column = position % inner;
    std::int64_t row = position / inner, offset = column * box.stride[rank - 1];
    std::uint64_t index = box.start + static_cast<std::uint64_t>(column);
    for (int dim = rank - 2; dim >= 0; --dim) {
      const std::int64_t at = row % box.size[dim];
      row /= box.size[dim];
      offset += at * box.stride[dim];
      index += static_cast<std::uint64_t>(at) * box.global_stride[dim];
    }
    const std::int64_t count = std::min(inner - column, last - position);
    writer.run(index, count, reinterpret_cast<T*>(box.data) + offset);
    position += count;
  }
}

template <template <class> class Law>
void fill_typed(const Box& box, const Draw& draw, std::int64_t first, std::int64_t last) {
  switch (box.type) {
    case Type::float32:
      return fill_range<Type::float32, SingleGroup<Law<Single>>>(box, draw, first, last);
    case Type::float64:
      return fill_range<Type::float64, DoubleGroup<Law<Double>>>(box, draw, first, last);
    case Type::bfloat16:
      return fill_range<Type::bfloat16, SingleGroup<Law<Single>>>(box, draw, first, last);
    case Type::float16:
      return fill_range<Type::float16, SingleGroup<Law<Single>>>(box, draw, first, last);
  }
}

}  // namespace goodinit::GOODINIT_ISA
