// What a fill is told: plain data, the same for every instruction set.
#pragma once

#include <cstdint>
#include <vector>

namespace goodinit {

enum class Law { uniform, normal, truncated_normal };
enum class Type { float32, float64, bfloat16, float16 };

struct TruncationSide {
  double v_outer, v_step, x_inner, x_step;
};

// Constants of a law; each law reads its own. rng/truncated.py computes those of a truncation.
struct Parameters {
  double low = 0, high = 0, span = 0, mean = 0, std = 1;
  std::uint64_t left_count = 0;
  TruncationSide left{}, right{};
  double w_inner = 0, c = 0, d = 0, l_inner = 0, v_split = 0;
};

// A box of a global tensor and the memory that holds it. Sizes run from the outermost dimension
// to the innermost; in the innermost one global indices are consecutive.
struct Box {
  char* data;
  Type type;
  std::vector<std::int64_t> size;
  std::vector<std::int64_t> stride;         // of the memory, in elements
  std::vector<std::uint64_t> global_stride;  // of the global tensor, in elements
  std::uint64_t start;                      // global index of the first element
};

struct Draw {
  Law law;
  Parameters parameters;
  std::uint64_t key;
  std::uint32_t stream;
};

// Writes the elements at local row-major positions first ... last - 1.
using FillRange = void (*)(const Box&, const Draw&, std::int64_t first, std::int64_t last);

}  // namespace goodinit
