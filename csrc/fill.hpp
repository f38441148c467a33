// Boxes of values: blocks to groups, groups to memory.
#pragma once

#include <algorithm>

#include "laws.hpp"
#include "philox.hpp"

namespace goodinit::GOODINIT_ISA {

inline constexpr int kGroupBlocks = kLanes;
inline constexpr int kGroup = 4 * kLanes;  // elements drawn at a time

// Where the blocks of a group must sit, see `block_at`: the even and the odd 32-bit lanes.
struct Order {
  u64 even, odd;
};
constexpr Order order() {
  Order made{};
  for (int i = 0; i < kHalf; ++i) {
    made.even[i] = static_cast<std::uint64_t>(block_at(2 * i));
    made.odd[i] = static_cast<std::uint64_t>(block_at(2 * i + 1));
  }
  return made;
}

// The values of a group of blocks, in the order of elements.
template <template <class> class Law>
struct SingleGroup {
  using Real = float;
  Law<Single> law;
  std::uint64_t key;
  std::uint32_t stream;
  Order places = order();

  explicit SingleGroup(const Draw& draw) : law(draw.parameters), key(draw.key), stream(draw.stream) {}

  void consecutive(std::uint64_t block, f32 (&out)[4]) const { draw(places.even + block, places.odd + block, out); }

  void scattered(const std::uint64_t* blocks, f32 (&out)[4]) const {
    u64 even{}, odd{};
    for (int i = 0; i < kHalf; ++i) {
      even[i] = blocks[block_at(2 * i)];
      odd[i] = blocks[block_at(2 * i + 1)];
    }
    draw(even, odd, out);
  }

 private:
  void draw(u64 even, u64 odd, f32 (&out)[4]) const {
    const Words a = philox(even, key, 0, stream), b = philox(odd, key, 0, stream);
    u32 integers[4]{};
    f32 values[4]{};
    for (int place = 0; place < 4; ++place) integers[place] = pack(a.word[place], b.word[place]);
    law(integers, values);
    interleave(values, out);
  }
};

template <template <class> class Law>
struct DoubleGroup {
  using Real = double;
  Law<Double> law;
  std::uint64_t key;
  std::uint32_t stream;

  explicit DoubleGroup(const Draw& draw) : law(draw.parameters), key(draw.key), stream(draw.stream) {}

  void consecutive(std::uint64_t block, f64 (&out)[8]) const {
    std::uint64_t blocks[kGroupBlocks];
    for (int i = 0; i < kGroupBlocks; ++i) blocks[i] = block + static_cast<std::uint64_t>(i);
    scattered(blocks, out);
  }

  void scattered(const std::uint64_t* blocks, f64 (&out)[8]) const {
    double flat[kGroup];
    for (int half = 0; half < 2; ++half) {
      const u64 which = load<u64>(blocks + half * kHalf);
      const Words high = philox(which, key, 0, stream), low = philox(which, key, 1, stream);
      u64 integers[4]{};
      f64 values[4]{};
      for (int place = 0; place < 4; ++place)
        integers[place] = (high.word[place] << 32) | (low.word[place] & 0xFFFFFFFFu);
      law(integers, values);
      for (int lane = 0; lane < kHalf; ++lane)
        for (int place = 0; place < 4; ++place) flat[4 * (half * kHalf + lane) + place] = values[place][lane];
    }
    for (int part = 0; part < 8; ++part) out[part] = load<f64>(flat + part * kHalf);
  }
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

template <Type type, class F, std::size_t N, class T>
inline void store_group(const F (&values)[N], T* to) {
  constexpr int lanes = kGroup / static_cast<int>(N);
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
    } else if constexpr (type == Type::bfloat16) {
      u32 x = bits<u32>(values[part]);
      x = (x + 0x7FFFu + ((x >> 16) & 1)) >> 16;
      using Narrow = std::uint16_t __attribute__((vector_size(kBytes / 2)));
      store(at, __builtin_convertvector(x, Narrow));
    } else {
      for (int lane = 0; lane < lanes; ++lane) at[lane] = rounded<type>(values[part][lane]);
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
        whole(index >> 2, to);
        advance(index, count, to, kGroup);
        continue;
      }
      const int here = static_cast<int>(std::min<std::int64_t>(4 - from, count));
      blocks_[pending_] = index >> 2;
      pieces_[pending_] = {to, from, here};
      if (++pending_ == kGroupBlocks) flush();
      advance(index, count, to, here);
    }
  }

 private:
  void advance(std::uint64_t& index, std::int64_t& count, T*& to, int by) const {
    index += static_cast<std::uint64_t>(by);
    count -= by;
    to += by * stride_;
  }

  void whole(std::uint64_t block, T* to) {
    Values values{};
    group_.consecutive(block, values);
    if (stride_ == 1) {
      store_group<type>(values, to);
      return;
    }
    typename Group::Real flat[kGroup];
    std::memcpy(flat, &values, sizeof flat);
    for (int i = 0; i < kGroup; ++i) to[i * stride_] = rounded<type>(flat[i]);
  }

  void flush() {
    if (pending_ == 0) return;
    for (int i = pending_; i < kGroupBlocks; ++i) blocks_[i] = blocks_[0];
    Values values{};
    group_.scattered(blocks_, values);
    typename Group::Real flat[kGroup];
    std::memcpy(flat, &values, sizeof flat);
    for (int i = 0; i < pending_; ++i)
      for (int j = 0; j < pieces_[i].count; ++j)
        pieces_[i].to[j * stride_] = rounded<type>(flat[4 * i + pieces_[i].from + j]);
    pending_ = 0;
  }

  using Values = std::conditional_t<std::is_same_v<typename Group::Real, float>, f32[4], f64[8]>;
  Group group_;
  std::int64_t stride_;
  int pending_ = 0;
  std::uint64_t blocks_[kGroupBlocks];
  Piece<T> pieces_[kGroupBlocks];
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
      return fill_range<Type::float32, SingleGroup<Law>>(box, draw, first, last);
    case Type::float64:
      return fill_range<Type::float64, DoubleGroup<Law>>(box, draw, first, last);
    case Type::bfloat16:
      return fill_range<Type::bfloat16, SingleGroup<Law>>(box, draw, first, last);
    case Type::float16:
      return fill_range<Type::float16, SingleGroup<Law>>(box, draw, first, last);
  }
}

}  // namespace goodinit::GOODINIT_ISA
