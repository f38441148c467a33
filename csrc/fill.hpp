// Boxes of values: blocks to groups, groups to memory.
#pragma once

#include <algorithm>

#include "laws.hpp"
#include "philox.hpp"

namespace goodinit::GOODINIT_ISA {

// How many vectors of kHalf blocks are drawn together, 1 KiB of float32: enough to keep a processor busy in every
// step, few enough that memory keeps up with a row that is written at once.
inline constexpr int kRow = 512 / kBytes;

// The values of up to kRow vectors of blocks in the order of elements, vector by vector. A float64 takes the words
// of two draws.
template <class Law>
class SingleRow {
 public:
  struct Values {
    f32 part[2];
  };
  using Shared = Philox::Shared;

  explicit SingleRow(const Draw& draw) : law_(draw.parameters), philox_(draw.key, 0, draw.stream) {}

  Shared shared(std::uint32_t high) const { return philox_.shared(high); }

  template <class Each>
  GOODINIT_INLINE void consecutive(u64 blocks, const Shared& shared, int count, Each each) const {
    Philox::State states[kRow];
    philox_.consecutive(blocks, shared, states, states + count);
    finish(states, count, each);
  }
  template <class Each>
  GOODINIT_INLINE void scattered(const std::uint64_t* blocks, int count, Each each) const {
    Philox::State states[kRow];
    philox_.scattered(blocks, states, states + count);
    finish(states, count, each);
  }

 private:
  template <class Each>
  GOODINIT_INLINE void finish(const Philox::State* states, int count, Each each) const {
    typename Law::Draft drafts[kRow];
    const std::uint64_t keys = philox_.last_key1() << 32 | philox_.last_key0();
    for (int i = 0; i < count; ++i) {
      const auto& s = states[i];
      drafts[i].even = Philox::words(s.p1, s.p0, s.before1, s.before0, keys);
      drafts[i].odd = pack(s.p1, s.p0);
    }
    law_.prepare(drafts, drafts + count);
    for (int i = 0; i < count; ++i) {
      f32 even, odd;
      law_.finish(drafts[i], even, odd);
      Values out;
      interleave(even, odd, out.part[0], out.part[1]);
      each(out);
    }
  }

  Law law_;
  Philox philox_;
};

template <class Law>
class DoubleRow {
 public:
  struct Values {
    f64 part[4];
  };
  struct Shared {
    Philox::Shared high, low;
  };

  explicit DoubleRow(const Draw& draw)
      : law_(draw.parameters), high_(draw.key, 0, draw.stream), low_(draw.key, 1, draw.stream) {}

  Shared shared(std::uint32_t high) const { return {high_.shared(high), low_.shared(high)}; }

  template <class Each>
  GOODINIT_INLINE void consecutive(u64 blocks, const Shared& shared, int count, Each each) const {
    Philox::State high[kRow], low[kRow];
    high_.consecutive(blocks, shared.high, high, high + count);
    low_.consecutive(blocks, shared.low, low, low + count);
    finish(high, low, count, each);
  }
  template <class Each>
  GOODINIT_INLINE void scattered(const std::uint64_t* blocks, int count, Each each) const {
    Philox::State high[kRow], low[kRow];
    high_.scattered(blocks, high, high + count);
    low_.scattered(blocks, low, low + count);
    finish(high, low, count, each);
  }

 private:
  template <class Each>
  GOODINIT_INLINE void finish(const Philox::State* high, const Philox::State* low, int count, Each each) const {
    typename Law::Draft drafts[2 * kRow];
    const std::uint64_t key0 = high_.last_key0() << 32 | low_.last_key0();
    const std::uint64_t key1 = high_.last_key1() << 32 | low_.last_key1();
    for (int i = 0; i < count; ++i) {
      const auto &h = high[i], &l = low[i];
      drafts[2 * i].even = as_longs(Philox::words(l.p1, h.p1, l.before1, h.before1, key0));
      drafts[2 * i].odd = as_longs(pack(l.p1, h.p1));
      drafts[2 * i + 1].even = as_longs(Philox::words(l.p0, h.p0, l.before0, h.before0, key1));
      drafts[2 * i + 1].odd = as_longs(pack(l.p0, h.p0));
    }
    law_.prepare(drafts, drafts + 2 * count);
    for (int i = 0; i < count; ++i) {
      f64 first, second, third, fourth;
      law_.finish(drafts[2 * i], first, second);
      law_.finish(drafts[2 * i + 1], third, fourth);
      Values out;
      interleave(first, second, third, fourth, out.part);
      each(out);
    }
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

// `past` the caches: for what is larger than they are, and aligned to 64 bytes.
template <Type type, class Values, class T>
GOODINIT_INLINE void store_vector(const Values& values, T* to, bool past = false) {
  if constexpr (type == Type::bfloat16) {
    const u32 halves = narrow(bfloat16_bits(values.part[0]), bfloat16_bits(values.part[1]));
    past ? store_past(to, halves) : store(to, halves);
  } else {
    for (const auto& part : values.part) {
      constexpr int lanes = sizeof(part) / sizeof(part[0]);
      if constexpr (type == Type::float32 || type == Type::float64) {
        past ? store_past(to, part) : store(to, part);
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

template <Type type, class Row>
class Writer {
 public:
  using T = typename Stored<type>::T;

  // `large`: whether all that is filled is larger than the caches.
  Writer(const Draw& draw, std::int64_t stride, bool large) : row_(draw), stride_(stride), large_(large) {}
  ~Writer() { flush(); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  // Writes `count` elements from global index `index` on.
  void run(std::uint64_t index, std::int64_t count, T* to) {
    // Whole vectors of blocks go straight to memory; what is left at the ends is gathered, block by block.
    while (count > 0) {
      const int from = static_cast<int>(index & 3);
      if (from == 0 && count >= kValues) {
        const std::int64_t done = whole_vectors(index >> 2, count / kValues, to) * kValues;
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
  static constexpr int kBlocks = kRow * kHalf, kValues = 4 * kHalf;

  void advance(std::uint64_t& index, std::int64_t& count, T*& to, std::int64_t by) const {
    index += static_cast<std::uint64_t>(by);
    count -= by;
    if (count > 0) to += by * stride_;  // behind the last element a stride may lead anywhere
  }

  // Writes vectors of blocks from `block` on and returns how many: as far as the high word of the blocks stays.
  std::int64_t whole_vectors(std::uint64_t block, std::int64_t count, T* to) {
    const std::uint64_t ahead = ((std::uint64_t{1} << 32) - (block & 0xFFFFFFFFu)) / kHalf;
    const Row row = row_;  // known to stay, whatever is written through `to`
    const std::int64_t stride = stride_;
    // An ordinary store first reads the line that it overwrites.
    const bool past = large_ && stride == 1 && reinterpret_cast<std::uintptr_t>(to) % 64 == 0;
    const auto each = [&](const typename Row::Values& values) {
      if (stride == 1) {
        store_vector<type>(values, to, past);
      } else {
        T flat[kValues];
        store_vector<type>(values, flat);
        for (int i = 0; i < kValues; ++i) store(to + i * stride, flat[i]);
      }
      to += kValues * stride;
    };
    std::uint64_t lanes[kHalf];
    for (int lane = 0; lane < kHalf; ++lane) lanes[lane] = (block + place(lane)) & (~std::uint64_t{0} >> 2);
    if (ahead == 0) {
      row.scattered(lanes, 1, each);
      return 1;
    }
    if (static_cast<std::uint64_t>(count) > ahead) count = static_cast<std::int64_t>(ahead);
    const auto shared = row.shared(static_cast<std::uint32_t>(block >> 32));
    u64 blocks = load<u64>(lanes);
    constexpr int line = 64 / sizeof(T);
    for (std::int64_t left = count; left > 0; left -= kRow, blocks = blocks + kBlocks) {
      const int here = static_cast<int>(std::min<std::int64_t>(left, kRow));
      // A row is written at once, at its end, and would wait there for its memory: it is sent for one row before.
      const std::int64_t next = std::min<std::int64_t>(left - here, kRow) * kValues;
      if (stride == 1 && !past)
        for (std::int64_t i = 0; i < next; i += line) __builtin_prefetch(to + here * kValues + i, 1);
      row.consecutive(blocks, shared, here, each);
    }
    if (past) fence();
    return count;
  }

  void flush() {
    if (pending_ == 0) return;
    const int vectors = (pending_ + kHalf - 1) / kHalf;
    std::uint64_t lanes[kBlocks];
    for (int i = 0; i < vectors * kHalf; ++i) {
      const int from = i - i % kHalf + static_cast<int>(place(i % kHalf));
      lanes[i] = blocks_[from < pending_ ? from : 0];
    }
    T flat[4 * kBlocks];
    T* to = flat;
    row_.scattered(lanes, vectors, [&](const typename Row::Values& values) {
      store_vector<type>(values, to);
      to += kValues;
    });
    for (int i = 0; i < pending_; ++i)
      for (int j = 0; j < pieces_[i].count; ++j) store(pieces_[i].to + j * stride_, flat[4 * i + pieces_[i].from + j]);
    pending_ = 0;
  }

  // Which block of a vector sits in which lane.
  static constexpr std::uint64_t place(int lane) {
    return static_cast<std::uint64_t>(in_own_order(type) ? lane : block_at(lane));
  }

  Row row_;
  std::int64_t stride_;
  bool large_;
  int pending_ = 0;
  std::uint64_t blocks_[kBlocks];
  Piece<T> pieces_[kBlocks];
};

// Bytes from which on stores go past the caches: twice the second cache of today's servers.
constexpr std::uint64_t kLarge = std::uint64_t{1} << 22;

template <Type type, class Row>
void fill_range(const Box& box, const Draw& draw, std::int64_t first, std::int64_t last) {
  using T = typename Stored<type>::T;
  const int rank = static_cast<int>(box.size.size());
  const std::int64_t inner = box.size[rank - 1];
  std::uint64_t all = sizeof(T);  // may overflow, where elements overlap
  for (const std::int64_t size : box.size) all *= static_cast<std::uint64_t>(size);
  Writer<type, Row> writer(draw, box.stride[rank - 1], all >= kLarge);
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
      return fill_range<Type::float32, SingleRow<Law<Single>>>(box, draw, first, last);
    case Type::float64:
      return fill_range<Type::float64, DoubleRow<Law<Double>>>(box, draw, first, last);
    case Type::bfloat16:
      return fill_range<Type::bfloat16, SingleRow<Law<Single>>>(box, draw, first, last);
    case Type::float16:
      return fill_range<Type::float16, SingleRow<Law<Single>>>(box, draw, first, last);
  }
}

}  // namespace goodinit::GOODINIT_ISA
