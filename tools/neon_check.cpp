// Replays a file of tools/neon_cases.py on this processor's kernels and compares every byte. tools/neon.sh
// compiles it for another processor and runs it in an emulator.
#include <cfenv>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "dispatch.hpp"

using namespace goodinit;

namespace {

std::uint64_t natural(std::istream& in) {
  std::string word;
  in >> word;
  return std::strtoull(word.c_str(), nullptr, 10);
}

std::vector<double> reals(std::istream& in) {
  std::vector<double> out(natural(in));
  for (double& value : out) {
    std::string word;
    in >> word;
    value = std::strtod(word.c_str(), nullptr);
  }
  return out;
}

template <class T>
std::vector<T> naturals(std::istream& in, std::size_t count) {
  std::vector<T> out(count);
  for (T& value : out) value = static_cast<T>(natural(in));
  return out;
}

struct Call {
  Box box;
  Draw draw;
  std::int64_t first, last;
};

Call read_call(std::istream& in) {
  Call call{};
  std::string name;
  const std::uint64_t offset = natural(in);
  in >> name;
  call.box.type = name == "float32" ? Type::float32 : name == "float64" ? Type::float64 : name == "bfloat16" ? Type::bfloat16 : Type::float16;
  const std::size_t rank = natural(in);
  call.box.size = naturals<std::int64_t>(in, rank);
  call.box.stride = naturals<std::int64_t>(in, rank);
  call.box.global_stride = naturals<std::uint64_t>(in, rank);
  call.box.data = reinterpret_cast<char*>(offset);
  call.box.start = natural(in);
  call.first = static_cast<std::int64_t>(natural(in));
  call.last = static_cast<std::int64_t>(natural(in));
  call.draw.key = natural(in);
  call.draw.stream = static_cast<std::uint32_t>(natural(in));
  in >> name;
  Parameters& p = call.draw.parameters;
  p.left_count = natural(in);
  const auto n = reals(in), left = reals(in), right = reals(in);
  if (name == "uniform") {
    call.draw.law = Law::uniform;
    p.low = n.at(0), p.span = n.at(1), p.high = n.at(2);
  } else if (name == "normal") {
    call.draw.law = Law::normal;
    p.mean = n.at(0), p.std = n.at(1);
  } else {
    call.draw.law = Law::truncated_normal;
    p.mean = n.at(0), p.std = n.at(1), p.low = n.at(2), p.high = n.at(3);
    p.w_inner = n.at(4), p.c = n.at(5), p.d = n.at(6), p.l_inner = n.at(7), p.v_split = n.at(8);
    p.left = {left.at(0), left.at(1), left.at(2), left.at(3)};
    p.right = {right.at(0), right.at(1), right.at(2), right.at(3)};
  }
  return call;
}

}  // namespace

int main(int, char** arguments) {
  std::ifstream in(arguments[1]);
  const std::string set = instruction_sets().front();
  std::uint64_t cases = 0, bytes = 0, wrong = 0;
  for (std::string kind; in >> kind;) {
    const std::uint64_t calls = natural(in), size = natural(in);
    std::string hex;
    in >> hex;
    std::vector<Call> asked;
    for (std::uint64_t n = 0; n < calls; ++n) asked.push_back(read_call(in));
    // The caller's own rounding mode must change nothing.
    for (const int mode : {FE_TONEAREST, FE_UPWARD}) {
      std::vector<unsigned char> memory(size + 1);
      std::fesetround(mode);
      for (Call call : asked) {
        call.box.data = reinterpret_cast<char*>(memory.data()) + reinterpret_cast<std::uintptr_t>(call.box.data);
        fill(call.box, call.draw, call.first, call.last, set, 1);
      }
      std::fesetround(FE_TONEAREST);
      bool same = true;
      for (std::uint64_t n = 0; n < size; ++n)
        same = same && memory[n] == std::stoul(hex.substr(2 * n, 2), nullptr, 16);
      wrong += !same;
    }
    ++cases, bytes += size;
  }
  std::printf("%s: %llu cases (%llu bytes) in two rounding modes: %llu differ\n", set.c_str(),
              static_cast<unsigned long long>(cases), static_cast<unsigned long long>(bytes),
              static_cast<unsigned long long>(wrong));
  return cases == 0 || wrong != 0;
}
