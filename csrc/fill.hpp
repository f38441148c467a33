// Boxes of values: blocks to groups, groups to memory.
#pragma once

#include <algorithm>

#include "laws.hpp"
#include "philox.hpp"

namespace goodinit::GOODINIT_ISA {

inline constexpr int kGroup = 4 * kHalf;  // elements drawn at a time

// The values of kHalf blocks in the order of elements.
template <class Law>
class SingleGroup {
 public:
  using Real = float;
  using Values = f32[2];
  explicit SingleGroup(const Draw& draw) : law_(draw.parameters), philox_(draw.key, 0, draw.stream) {}

  GOODINIT_INLINE void scattered(u64 blocks, Values& out) const { finish(philox_(blocks), out); }

  struct Shared {
    Philox::Shared words;
  };
  Shared shared(std::uint32_t high) const { return {philox_.shared(high)}; }
  GOODINIT_INLINE void consecutive(u64 blocks, const Shared& shared, Values& out) const { finish(philox_(blocks, shared.words), out); }

 private:
  GOODINIT_INLINE void finish(const Words& words, Values& out) const {
    f32 even{}, odd{};
    law_(pack(words.word[0], words.word[2]), pack(words.word[1], words.word[3]), even, odd);
    interleave(even, odd, out);
  }

  Law law_;
  Philox philox_;
};

template <class Law>
class DoubleGroup {
 public:
  using Real = double;
  using Values = f64[4];
  explicit DoubleGroup(const Draw& draw)
      : law_(draw.parameters), high_(draw.key, 0, draw.stream), low_(draw.key, 1, draw.stream) {}

  GOODINIT_INLINE void scattered(u64 blocks, Values& out) const { finish(high_(blocks), low_(blocks), out); }

  struct Shared {
    Philox::Shared high, low;
  };
  Shared shared(std::uint32_t high) const { return {high_.shared(high), low_.shared(high)}; }
  GOODINIT_INLINE void consecutive(u64 blocks, const Shared& shared, Values& out) const {
    finish(high_(blocks, shared.high), low_(blocks, shared.low), out);
  }

 private:
  GOODINIT_INLINE void finish(const Words& high, const Words& low, Values& out) const {
    u64 integers[4]{};
    Values values{};
    for (int place = 0; place < 4; ++place) integers[place] = bits<u64>(pack(low.word[place], high.word[place]));
    law_(integers[0], integers[1], values[0], values[1]);
    law_(integers[2], integers[3], values[2], values[3]);
    interleave(values, out);
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

template <Type type, class F, std::size_t N, class T>
GOODINIT_INLINE void store_group(const F (&values)[N], T* to) {
  constexpr int lanes = kGroup / static_cast<int>(N);
  if constexpr (type == Type::bfloat16) {
    store(to, narrow(bfloat16_bits(values[0]), bfloat16_bits(values[1])));
  } else {
    for (std::size_t part = 0; part < N; ++part) {
      T* at = to + part * lanes;
      if constexpr (type == Type::float32 || type == Type::float64) {
        store(at, values[part]);
#if defined(__AVX512F__)
      } else if constexpr (type == Type::float16) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), _mm512_cvtps_ph(bits<__m512>(values[part]), 0));
#elif defined(__F16C__)
      } else if constexpr (type == Type::float16) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(at), _mm256_cvtps_ph(bits<__m256>(values[part]), 0));
#endif
      } else {
        for (int lane = 0; lane < lanes; ++lane) at[lane] = rounded<type>(values[part][lane]);
      }
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
      if (++pending_ == kHalf) flush();
      advance(index, count, to, here);
    }
  }

 private:
  using Values = typename Group::Values;

  void advance(std::uint64_t& index, std::int64_t& count, T*& to, std::int64_t by) const {
    index += static_cast<std::uint64_t>(by);
    count -= by;
    to += by * stride_;
  }

  // Writes groups from `block` on and returns how many: as far as the high word of the blocks stays.
  std::int64_t whole_groups(std::uint64_t block, std::int64_t groups, T* to) {
    const std::uint64_t ahead = ((std::uint64_t{1} << 32) - (block & 0xFFFFFFFFu)) / kHalf;
    u64 blocks = places_ + block;
    if (ahead == 0) {
      put_scattered(blocks, to, stride_);
      return 1;
    }
    if (static_cast<std::uint64_t>(groups) > ahead) groups = static_cast<std::int64_t>(ahead);
    const auto shared = group_.shared(static_cast<std::uint32_t>(block >> 32));
    const std::int64_t stride = stride_;
    for (std::int64_t n = 0; n < groups; ++n, blocks += kHalf, to += kGroup * stride) {
      Values values;
      group_.consecutive(blocks, shared, values);
      put_values(values, to, stride);
    }
    return groups;
  }

  static GOODINIT_INLINE void put_values(const Values& values, T* to, std::int64_t stride) {
    if (stride == 1) {
      store_group<type>(values, to);
      return;
    }
    T flat[kGroup];
    store_group<type>(values, flat);
    for (int i = 0; i < kGroup; ++i) to[i * stride] = flat[i];
  }

  void flush() {
    if (pending_ == 0) return;
    u64 blocks{};
    for (int lane = 0; lane < kHalf; ++lane) {
      const int block = static_cast<int>(places_[lane]);
      blocks[lane] = blocks_[block < pending_ ? block : 0];
    }
    T flat[kGroup];
    put_scattered(blocks, flat, 1);
    for (int i = 0; i < pending_; ++i)
      for (int j = 0; j < pieces_[i].count; ++j) pieces_[i].to[j * stride_] = flat[4 * i + pieces_[i].from + j];
    pending_ = 0;
  }

  void put_scattered(u64 blocks, T* to, std::int64_t stride) const {
    Values values;
    group_.scattered(blocks, values);
    put_values(values, to, stride);
  }

  static u64 places() {
    u64 made{};
    for (int lane = 0; lane < kHalf; ++lane)
      made[lane] = static_cast<std::uint64_t>(in_own_order(type) ? lane : block_at(lane));
    return made;
  }

  Group group_;
  std::int64_t stride_;
  u64 places_ = places();
  int pending_ = 0;
  std::uint64_t blocks_[kHalf];
  Piece<T> pieces_[kHalf];
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
