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

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace goodinit::GOODINIT_ISA {

#if defined(__AVX512F__)
inline constexpr int kBytes = 64;
#elif defined(__AVX2__)
inline constexpr int kBytes = 32;
#else
inline constexpr int kBytes = 16;
#endif
inline constexpr int kLanes = kBytes / 4;  // of 32 bits
inline constexpr int kHalf = kBytes / 8;   // of 64 bits

using f32 = float __attribute__((vector_size(kBytes)));
using u32 = std::uint32_t __attribute__((vector_size(kBytes)));
using i32 = std::int32_t __attribute__((vector_size(kBytes)));
using f64 = double __attribute__((vector_size(kBytes)));
using u64 = std::uint64_t __attribute__((vector_size(kBytes)));
using i64 = std::int64_t __attribute__((vector_size(kBytes)));

template <class To, class From>
inline To bits(From value) {
  static_assert(sizeof(To) == sizeof(From));
  To out;
  std::memcpy(&out, &value, sizeof out);
  return out;
}

template <class V, class Scalar>
inline V load(const Scalar* from) {
  V out;
  std::memcpy(&out, from, sizeof out);
  return out;
}

template <class V, class Scalar>
inline void store(Scalar* to, V value) {
  std::memcpy(to, &value, sizeof value);
}

// The product of the low 32 bits of each 64-bit lane; the high bits may hold anything.
inline u64 multiply_low(u64 a, u64 b) {
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
inline u64 high_half(u64 a) {
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

inline f32 square_root(f32 x) {
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

inline f64 square_root(f64 x) {
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
inline f32 to_float(i32 x) { return __builtin_convertvector(x, f32); }
inline f32 to_float(u32 x) {
#if defined(__AVX512F__) || defined(__aarch64__)
  return __builtin_convertvector(x, f32);
#else
  return to_float(bits<i32>(x >> 16)) * 65536.0f + to_float(bits<i32>(x & 0xFFFFu));
#endif
}

inline f64 to_float(u64 x) {
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
inline f64 to_float(i64 x) {
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

inline bool any(i32 mask) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask(bits<__m512i>(mask), bits<__m512i>(mask)) != 0;
#elif defined(__AVX2__)
  return !_mm256_testz_si256(bits<__m256i>(mask), bits<__m256i>(mask));
#else
  u64 wide = bits<u64>(mask);
  return (wide[0] | wide[1]) != 0;
#endif
}
inline bool any(i64 mask) { return any(bits<i32>(mask)); }

// Words of `kLanes` blocks, one vector for each place in a block, to the order of elements.
// `place_of_block` says where a block must sit for this to need no crossing of 128-bit lanes.
inline constexpr int kQuads = kBytes / 16;
constexpr int block_at(int lane) { return kQuads * (lane % 4) + lane / 4; }

inline void interleave(const f32 (&in)[4], f32 (&out)[4]) {
#if defined(__AVX512F__)
  __m512 a = bits<__m512>(in[0]), b = bits<__m512>(in[1]), c = bits<__m512>(in[2]), d = bits<__m512>(in[3]);
  __m512d ab_low = _mm512_castps_pd(_mm512_unpacklo_ps(a, b)), ab_high = _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
  __m512d cd_low = _mm512_castps_pd(_mm512_unpacklo_ps(c, d)), cd_high = _mm512_castps_pd(_mm512_unpackhi_ps(c, d));
  out[0] = bits<f32>(_mm512_unpacklo_pd(ab_low, cd_low));
  out[1] = bits<f32>(_mm512_unpackhi_pd(ab_low, cd_low));
  out[2] = bits<f32>(_mm512_unpacklo_pd(ab_high, cd_high));
  out[3] = bits<f32>(_mm512_unpackhi_pd(ab_high, cd_high));
#elif defined(__AVX2__)
  __m256 a = bits<__m256>(in[0]), b = bits<__m256>(in[1]), c = bits<__m256>(in[2]), d = bits<__m256>(in[3]);
  __m256d ab_low = _mm256_castps_pd(_mm256_unpacklo_ps(a, b)), ab_high = _mm256_castps_pd(_mm256_unpackhi_ps(a, b));
  __m256d cd_low = _mm256_castps_pd(_mm256_unpacklo_ps(c, d)), cd_high = _mm256_castps_pd(_mm256_unpackhi_ps(c, d));
  out[0] = bits<f32>(_mm256_unpacklo_pd(ab_low, cd_low));
  out[1] = bits<f32>(_mm256_unpackhi_pd(ab_low, cd_low));
  out[2] = bits<f32>(_mm256_unpacklo_pd(ab_high, cd_high));
  out[3] = bits<f32>(_mm256_unpackhi_pd(ab_high, cd_high));
#else
  for (int lane = 0; lane < kLanes; ++lane)
    for (int place = 0; place < 4; ++place) out[lane % 4][4 * (lane / 4) + place] = in[place][lane];
#endif
}

}  // namespace goodinit::GOODINIT_ISA
