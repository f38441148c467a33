#include "dispatch.hpp"

#include <algorithm>
#include <functional>
#include <stdexcept>
#include <system_error>
#include <thread>

namespace goodinit {

namespace baseline {
void fill(const Box&, const Draw&, std::int64_t, std::int64_t);
}
#if defined(GOODINIT_X86)
namespace avx2 {
void fill(const Box&, const Draw&, std::int64_t, std::int64_t);
}
namespace avx512 {
void fill(const Box&, const Draw&, std::int64_t, std::int64_t);
}
#endif

namespace {

struct InstructionSet {
  const char* name;
  FillRange fill;
  bool here;
};

std::vector<InstructionSet> built() {
  std::vector<InstructionSet> sets;
#if defined(GOODINIT_X86)
  __builtin_cpu_init();
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  sets.push_back({"avx512", &avx512::fill, avx512});
  // F16C has no name in GCC 12's table; every processor with AVX2 has it.
  sets.push_back({"avx2", &avx2::fill, static_cast<bool>(__builtin_cpu_supports("avx2"))});
#endif
  sets.push_back({"baseline", &baseline::fill, true});
  return sets;
}

// A thread is worth its start from about this many elements on.
constexpr std::int64_t kPerThread = 1 << 17;
// Ranges begin at multiples of this, so that few blocks are drawn twice.
constexpr std::int64_t kAlign = 1 << 10;

}  // namespace

std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
  for (const auto& set : built())
    if (set.here) names.emplace_back(set.name);
  return names;
}

void fill(const Box& box, const Draw& draw, std::int64_t first, std::int64_t last, const std::string& instruction_set,
          int threads) {
  FillRange fill_range = nullptr;
  for (const auto& set : built())
    if (set.here && instruction_set == set.name) fill_range = set.fill;
  if (fill_range == nullptr) throw std::invalid_argument("no instruction set '" + instruction_set + "' here");

  const std::int64_t count = last - first;
  if (count <= 0) return;
  const std::int64_t wanted = std::clamp<std::int64_t>(count / kPerThread, 1, std::max(threads, 1));
  const std::int64_t share = ((count + wanted - 1) / wanted + kAlign - 1) / kAlign * kAlign;

  std::vector<std::thread> helpers;
  const std::int64_t mine = first + std::min(share, count);
  for (std::int64_t low = mine; low < last; low += share) {
    const std::int64_t high = std::min(low + share, last);
    try {
      helpers.emplace_back(fill_range, std::cref(box), std::cref(draw), low, high);
    } catch (const std::system_error&) {  // no thread to be had: this one does the work
      fill_range(box, draw, low, high);
    }
  }
  fill_range(box, draw, first, mine);
  for (auto& helper : helpers) helper.join();
}

}  // namespace goodinit
