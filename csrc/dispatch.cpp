#include "dispatch.hpp"

#include <algorithm>
#include <atomic>
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

const std::vector<InstructionSet>& built() {
  static const std::vector<InstructionSet> sets = [] {
    std::vector<InstructionSet> found;
#if defined(GOODINIT_X86)
    __builtin_cpu_init();
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    found.push_back({"avx512", &avx512::fill, avx512});
    // F16C has no name in GCC 12's table; every processor with AVX2 has it.
    found.push_back({"avx2", &avx2::fill, static_cast<bool>(__builtin_cpu_supports("avx2"))});
#endif
    found.push_back({"baseline", &baseline::fill, true});
    return found;
  }();
  return sets;
}

// A thread is worth its start from about this many elements on.
constexpr std::int64_t kPerThread = 1 << 17;
// What a thread takes at a time: small enough that all end together even where one is held up, large
// enough that its start costs nothing.
constexpr std::int64_t kPiece = 1 << 16;

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
  if (wanted == 1) return fill_range(box, draw, first, last);

  std::atomic<std::int64_t> next{first};
  const auto work = [&] {
    for (std::int64_t low; (low = next.fetch_add(kPiece, std::memory_order_relaxed)) < last;)
      fill_range(box, draw, low, std::min(low + kPiece, last));
  };
  std::vector<std::thread> helpers;
  helpers.reserve(static_cast<std::size_t>(wanted - 1));
  try {
    for (std::int64_t n = 1; n < wanted; ++n) helpers.emplace_back(work);
  } catch (const std::system_error&) {  // no more threads to be had: those here do the work
  }
  work();
  for (auto& helper : helpers) helper.join();
}

}  // namespace goodinit
