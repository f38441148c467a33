// Vectors of the widest registers that this translation unit is compiled for.
//
// Every file of this folder is compiled once per instruction set, each time inside a namespace
// of its own (GOODINIT_ISA), so that the linker cannot mix them. The arithmetic is written with
// the compiler's vector types; only what they cannot say is an intrinsic here. All operations
// are those that IEEE 754 fixes exactly, so every instruction set gives the same bits.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

// A call would spill every register and load every constant again.
#define GOODINIT_INLINE inline __attribute__((always_inline))

namespace goodinit::GOODINIT_ISA {

#if defined(__AVX512F__)
inline constexpr int kBytes = 64;
#elif defined(__AVX2__)
inline constexpr int kBytes = 32;
#else
inline constexpr int kBytes = 16;
#endif
inline constexpr int kLanes = kBytes / 4;  // of 32 bits
inline constexpr int kHalf = kBytes / 8;   // of 64 bits: the blocks that are drawn at a time

using f32 = float __attribute__((vector_size(kBytes)));
using u32 = std::uint32_t __attribute__((vector_size(kBytes)));
using i32 = std::int32_t __attribute__((vector_size(kBytes)));
using f64 = double __attribute__((vector_size(kBytes)));
using u64 = std::uint64_t __attribute__((vector_size(kBytes)));
using i64 = std::int64_t __attribute__((vector_size(kBytes)));

template <class To, class From>
GOODINIT_INLINE To bits(From value) {
  static_assert(sizeof(To) == sizeof(From));
  To out;
  std::memcpy(&out, &value, sizeof out);
  return out;
}

// The same bits as another kind of number.
GOODINIT_INLINE f32 as_float(u32 x) { return reinterpret_cast<f32>(x); }
GOODINIT_INLINE f64 as_float(u64 x) { return reinterpret_cast<f64>(x); }
GOODINIT_INLINE u32 as_unsigned(f32 x) { return reinterpret_cast<u32>(x); }
GOODINIT_INLINE u32 as_unsigned(i32 x) { return reinterpret_cast<u32>(x); }
GOODINIT_INLINE u64 as_unsigned(f64 x) { return reinterpret_cast<u64>(x); }
GOODINIT_INLINE u32 as_words(u64 x) { return reinterpret_cast<u32>(x); }
GOODINIT_INLINE u64 as_longs(u32 x) { return reinterpret_cast<u64>(x); }
GOODINIT_INLINE u64 as_unsigned(i64 x) { return reinterpret_cast<u64>(x); }
GOODINIT_INLINE i32 as_signed(u32 x) { return reinterpret_cast<i32>(x); }
GOODINIT_INLINE i64 as_signed(u64 x) { return reinterpret_cast<i64>(x); }

// All ones where x is below y.
GOODINIT_INLINE i32 less(f32 x, f32 y) { return x < y; }
GOODINIT_INLINE i32 less(u32 x, u32 y) { return x < y; }
GOODINIT_INLINE i64 less(f64 x, f64 y) { return x < y; }
GOODINIT_INLINE i64 less(u64 x, u64 y) { return x < y; }
GOODINIT_INLINE f32 select(i32 mask, f32 yes, f32 no) { return mask ? yes : no; }
GOODINIT_INLINE f64 select(i64 mask, f64 yes, f64 no) { return mask ? yes : no; }

// One value in every lane.
template <class V, class Scalar>
GOODINIT_INLINE V all(Scalar value) {
  return V{} + value;
}

// All ones where the leading bit is set.
GOODINIT_INLINE u32 negative(u32 x) { return as_unsigned(as_signed(x) >> 31); }
GOODINIT_INLINE u64 negative(u64 x) {
  const i64 mask = as_signed(x) < 0;
  return as_unsigned(mask);
}

template <class V, class Scalar>
GOODINIT_INLINE V load(const Scalar* from) {
  V out;
  std::memcpy(&out, from, sizeof out);
  return out;
}

template <class V, class Scalar>
GOODINIT_INLINE void store(Scalar* to, V value) {
  std::memcpy(to, &value, sizeof value);
}

// Stores past the caches; `to` must be aligned like the vector. Needs `fence()` before others may read it.
template <class V, class Scalar>
GOODINIT_INLINE void store_past(Scalar* to, V value) {
#if defined(__AVX512F__)
  if constexpr (sizeof(V) == 64) return _mm512_stream_si512(reinterpret_cast<__m512i*>(to), bits<__m512i>(value));
#endif
#if defined(__AVX2__)
  if constexpr (sizeof(V) == 32) return _mm256_stream_si256(reinterpret_cast<__m256i*>(to), bits<__m256i>(value));
#endif
  store(to, value);
}

GOODINIT_INLINE void fence() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

// The product of the low 32 bits of each 64-bit lane; the high bits may hold anything.
GOODINIT_INLINE u64 multiply_low(u64 a, u64 b) {
#if defined(__AVX512F__)
  return bits<u64>(_mm512_mul_epu32(bits<__m512i>(a), bits<__m512i>(b)));
#elif defined(__AVX2__)
  return bits<u64>(_mm256_mul_epu32(bits<__m256i>(a), bits<__m256i>(b)));
#elif defined(__x86_64__)
  return bits<u64>(_mm_mul_epu32(bits<__m128i>(a), bits<__m128i>(b)));
#elif defined(__aarch64__)
  return bits<u64>(vmull_u32(vmovn_u64(bits<uint64x2_t>(a)), vmovn_u64(bits<uint64x2_t>(b))));
#else
  return (a & 0xFFFFFFFFu) * (b & 0xFFFFFFFFu);
#endif
}

// The high 32 bits of each 64-bit lane in its low half; the high half may hold anything.
GOODINIT_INLINE u64 high_half(u64 a) {
  // A shuffle runs beside the multiplications, a shift would wait for their port.
#if defined(__AVX512F__)
  return bits<u64>(_mm512_shuffle_epi32(bits<__m512i>(a), _MM_PERM_DDBB));
#elif defined(__AVX2__)
  return bits<u64>(_mm256_shuffle_epi32(bits<__m256i>(a), 0xF5));
#elif defined(__x86_64__)
  return bits<u64>(_mm_shuffle_epi32(bits<__m128i>(a), 0xF5));
#else
  return a >> 32;
#endif
}

// The same of a vector in memory: where a load can shuffle, it is for nothing.
GOODINIT_INLINE u64 high_half_of(const u64& a) {
#if defined(__AVX512F__)
  return bits<u64>(_mm512_movehdup_ps(_mm512_load_ps(&a)));
#elif defined(__AVX2__)
  return bits<u64>(_mm256_movehdup_ps(_mm256_load_ps(reinterpret_cast<const float*>(&a))));
#else
  return high_half(a);
#endif
}

GOODINIT_INLINE f32 square_root(f32 x) {
#if defined(__AVX512F__)
  return bits<f32>(_mm512_sqrt_ps(bits<__m512>(x)));
#elif defined(__AVX2__)
  return bits<f32>(_mm256_sqrt_ps(bits<__m256>(x)));
#elif defined(__x86_64__)
  return bits<f32>(_mm_sqrt_ps(bits<__m128>(x)));
#elif defined(__aarch64__)
  return bits<f32>(vsqrtq_f32(bits<float32x4_t>(x)));
#else
  for (int i = 0; i < kLanes; ++i) x[i] = std::sqrt(x[i]);
  return x;
#endif
}

GOODINIT_INLINE f64 square_root(f64 x) {
#if defined(__AVX512F__)
  return bits<f64>(_mm512_sqrt_pd(bits<__m512d>(x)));
#elif defined(__AVX2__)
  return bits<f64>(_mm256_sqrt_pd(bits<__m256d>(x)));
#elif defined(__x86_64__)
  return bits<f64>(_mm_sqrt_pd(bits<__m128d>(x)));
#elif defined(__aarch64__)
  return bits<f64>(vsqrtq_f64(bits<float64x2_t>(x)));
#else
  for (int i = 0; i < kHalf; ++i) x[i] = std::sqrt(x[i]);
  return x;
#endif
}

// Integers to the nearest float, ties to even. Without an instruction for it: halves that are
// exact, and one rounding addition.
GOODINIT_INLINE f32 to_float(i32 x) { return __builtin_convertvector(x, f32); }
GOODINIT_INLINE f32 to_float(u32 x) {
#if defined(__AVX512F__) || defined(__aarch64__)
  return __builtin_convertvector(x, f32);
#elif defined(__AVX2__)
  // 2^23 and 2^39 in the exponent make the low and the high 16 bits the mantissa's last.
  const __m256i low = _mm256_blend_epi16(bits<__m256i>(x), _mm256_set1_epi32(0x4B000000), 0xAA);
  const __m256i high = _mm256_blend_epi16(bits<__m256i>(x >> 16), _mm256_set1_epi32(0x53000000), 0xAA);
  return bits<f32>(high) - (0x1p39f + 0x1p23f) + bits<f32>(low);
#else
  return to_float(bits<i32>(x >> 16)) * 65536.0f + to_float(bits<i32>(x & 0xFFFFu));
#endif
}

GOODINIT_INLINE f64 to_float(u64 x) {
#if defined(__AVX512DQ__) || defined(__aarch64__)
  return __builtin_convertvector(x, f64);
#else
  // 2^52 in the exponent makes the low 32 bits the mantissa's last.
  constexpr std::uint64_t magic = 0x4330000000000000u;
  f64 high = bits<f64>((x >> 32) | magic) - 0x1p52;
  f64 low = bits<f64>((x & 0xFFFFFFFFu) | magic) - 0x1p52;
  return high * 0x1p32 + low;
#endif
}
GOODINIT_INLINE f64 to_float(i64 x) {
#if defined(__AVX512DQ__) || defined(__aarch64__)
  return __builtin_convertvector(x, f64);
#else
  constexpr std::uint64_t magic = 0x4330000000000000u;
  u64 y = bits<u64>(x);
  f64 high = bits<f64>(((y >> 32) ^ 0x80000000u) | magic) - (0x1p52 + 0x1p31);
  f64 low = bits<f64>((y & 0xFFFFFFFFu) | magic) - 0x1p52;
  return high * 0x1p32 + low;
#endif
}

GOODINIT_INLINE bool any(i32 mask) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask(bits<__m512i>(mask), bits<__m512i>(mask)) != 0;
#elif defined(__AVX2__)
  return !_mm256_testz_si256(bits<__m256i>(mask), bits<__m256i>(mask));
#else
  u64 wide = bits<u64>(mask);
  return (wide[0] | wide[1]) != 0;
#endif
}
GOODINIT_INLINE bool any(i64 mask) { return any(bits<i32>(mask)); }

// The low half of each 64-bit lane of `even`, with that of `odd` above it.
GOODINIT_INLINE u32 pack(u64 even, u64 odd) {
#if defined(__AVX512F__)
  return bits<u32>(_mm512_mask_shuffle_epi32(bits<__m512i>(even), 0xAAAA, bits<__m512i>(odd), _MM_PERM_CCAA));
#elif defined(__AVX2__)
  return bits<u32>(_mm256_blend_ps(bits<__m256>(even), _mm256_moveldup_ps(bits<__m256>(odd)), 0xAA));
#else
  return bits<u32>((even & 0xFFFFFFFFu) | (odd << 32));
#endif
}

// The high half of each 64-bit lane of `even`, with that of `odd` above it.
GOODINIT_INLINE u32 pack_high(u64 even, u64 odd) {
#if defined(__AVX512F__)
  return bits<u32>(_mm512_mask_shuffle_epi32(bits<__m512i>(odd), 0x5555, bits<__m512i>(even), _MM_PERM_DDBB));
#elif defined(__AVX2__)
  return bits<u32>(_mm256_blend_ps(_mm256_movehdup_ps(bits<__m256>(even)), bits<__m256>(odd), 0xAA));
#else
  return bits<u32>((even >> 32) | (odd & 0xFFFFFFFF00000000u));
#endif
}

// The larger and the smaller of each pair; b where they are equal.
GOODINIT_INLINE f32 maximum(f32 a, f32 b) {
#if defined(__AVX512F__)
  return bits<f32>(_mm512_max_ps(bits<__m512>(a), bits<__m512>(b)));
#elif defined(__AVX2__)
  return bits<f32>(_mm256_max_ps(bits<__m256>(a), bits<__m256>(b)));
#else
  return a > b ? a : b;
#endif
}
GOODINIT_INLINE f32 minimum(f32 a, f32 b) {
#if defined(__AVX512F__)
  return bits<f32>(_mm512_min_ps(bits<__m512>(a), bits<__m512>(b)));
#elif defined(__AVX2__)
  return bits<f32>(_mm256_min_ps(bits<__m256>(a), bits<__m256>(b)));
#else
  return a < b ? a : b;
#endif
}
GOODINIT_INLINE f64 maximum(f64 a, f64 b) { return a > b ? a : b; }
GOODINIT_INLINE f64 minimum(f64 a, f64 b) { return a < b ? a : b; }

// Which block sits in which 64-bit lane, for the shuffles below to cross no 128-bit lanes.
constexpr int block_at(int lane) { return lane / 2 + lane % 2 * (kHalf / 2); }

// Values of the even and the odd elements (lane 2i: the block's first pair, 2i + 1: its second) to
// the order of elements: first the blocks of the even 64-bit lanes, then those of the odd ones.
GOODINIT_INLINE void interleave(f32 even, f32 odd, f32& low, f32& high) {
#if defined(__AVX512F__)
  low = bits<f32>(_mm512_unpacklo_ps(bits<__m512>(even), bits<__m512>(odd)));
  high = bits<f32>(_mm512_unpackhi_ps(bits<__m512>(even), bits<__m512>(odd)));
#elif defined(__AVX2__)
  low = bits<f32>(_mm256_unpacklo_ps(bits<__m256>(even), bits<__m256>(odd)));
  high = bits<f32>(_mm256_unpackhi_ps(bits<__m256>(even), bits<__m256>(odd)));
#elif defined(__x86_64__)
  low = bits<f32>(_mm_unpacklo_ps(bits<__m128>(even), bits<__m128>(odd)));
  high = bits<f32>(_mm_unpackhi_ps(bits<__m128>(even), bits<__m128>(odd)));
#else
  low = f32{even[0], odd[0], even[1], odd[1]};
  high = f32{even[2], odd[2], even[3], odd[3]};
#endif
}

// Values of the four places of kHalf blocks, which sit where `block_at` says, to the order of elements.
GOODINIT_INLINE void interleave(f64 first, f64 second, f64 third, f64 fourth, f64 (&out)[4]) {
#if defined(__AVX512F__)
  const __m512d a = bits<__m512d>(first), b = bits<__m512d>(second), c = bits<__m512d>(third), d = bits<__m512d>(fourth);
  const __m512i lower = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), upper = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
  const __m512d ab_even = _mm512_unpacklo_pd(a, b), cd_even = _mm512_unpacklo_pd(c, d);
  const __m512d ab_odd = _mm512_unpackhi_pd(a, b), cd_odd = _mm512_unpackhi_pd(c, d);
  out[0] = bits<f64>(_mm512_permutex2var_pd(ab_even, lower, cd_even));
  out[1] = bits<f64>(_mm512_permutex2var_pd(ab_even, upper, cd_even));
  out[2] = bits<f64>(_mm512_permutex2var_pd(ab_odd, lower, cd_odd));
  out[3] = bits<f64>(_mm512_permutex2var_pd(ab_odd, upper, cd_odd));
#elif defined(__AVX2__)
  const __m256d a = bits<__m256d>(first), b = bits<__m256d>(second), c = bits<__m256d>(third), d = bits<__m256d>(fourth);
  const __m256d ab_even = _mm256_unpacklo_pd(a, b), cd_even = _mm256_unpacklo_pd(c, d);
  const __m256d ab_odd = _mm256_unpackhi_pd(a, b), cd_odd = _mm256_unpackhi_pd(c, d);
  out[0] = bits<f64>(_mm256_permute2f128_pd(ab_even, cd_even, 0x20));
  out[1] = bits<f64>(_mm256_permute2f128_pd(ab_even, cd_even, 0x31));
  out[2] = bits<f64>(_mm256_permute2f128_pd(ab_odd, cd_odd, 0x20));
  out[3] = bits<f64>(_mm256_permute2f128_pd(ab_odd, cd_odd, 0x31));
#else
  out[0] = f64{first[0], second[0]};
  out[1] = f64{third[0], fourth[0]};
  out[2] = f64{first[1], second[1]};
  out[3] = f64{third[1], fourth[1]};
#endif
}

// The low 16 bits of 32-bit lanes that hold no more than a sign extension above them; in each 128-bit
// lane first those of a, then those of b.
GOODINIT_INLINE u32 narrow(i32 a, i32 b) {
#if defined(__AVX512F__)
  return bits<u32>(_mm512_packs_epi32(bits<__m512i>(a), bits<__m512i>(b)));
#elif defined(__AVX2__)
  return bits<u32>(_mm256_packs_epi32(bits<__m256i>(a), bits<__m256i>(b)));
#elif defined(__x86_64__)
  return bits<u32>(_mm_packs_epi32(bits<__m128i>(a), bits<__m128i>(b)));
#else
  std::uint16_t out[8];
  for (int i = 0; i < 4; ++i) out[i] = static_cast<std::uint16_t>(a[i]), out[4 + i] = static_cast<std::uint16_t>(b[i]);
  return load<u32>(out);
#endif
}

}  // namespace goodinit::GOODINIT_ISA
