// Which instruction sets this machine has, and the fill that runs on them with threads.
#pragma once

#include <string>
#include <vector>

#include "parameters.hpp"

namespace goodinit {

// Names of the instruction sets that are built and that this machine has, best first.
std::vector<std::string> instruction_sets();

// Writes the elements at local row-major positions first ... last - 1 on up to `threads` threads; the
// values never depend on it.
void fill(const Box& box, const Draw& draw, std::int64_t first, std::int64_t last, const std::string& instruction_set, int threads);

}  // namespace goodinit
