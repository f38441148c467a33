// The Python module goodinit._kernels. Python checks every argument; here only what would crash.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>

#include "dispatch.hpp"

namespace nb = nanobind;
using namespace goodinit;

namespace {

template <class T>
T named(const std::string& name, std::initializer_list<std::pair<const char*, T>> known, const char* what) {
  for (const auto& [candidate, value] : known)
    if (name == candidate) return value;
  throw std::invalid_argument(std::string("unknown ") + what + " '" + name + "'");
}

TruncationSide side(const std::vector<double>& s) {
  if (s.size() != 4) throw std::invalid_argument("a truncation's side has four numbers");
  return {s[0], s[1], s[2], s[3]};
}

void fill_box(std::uintptr_t data, const std::string& type, std::vector<std::int64_t> size,
              std::vector<std::int64_t> stride, std::vector<std::uint64_t> global_stride, std::uint64_t start,
              const std::string& law, const std::vector<double>& numbers, std::uint64_t left_count,
              const std::vector<double>& left, const std::vector<double>& right, std::uint64_t key,
              std::uint32_t stream, const std::string& instruction_set, int threads) {
  if (size.empty() || stride.size() != size.size() || global_stride.size() != size.size())
    throw std::invalid_argument("size, stride and global_stride must have one length, at least 1");
  if (global_stride.back() != 1 && size.back() > 1)
    throw std::invalid_argument("the innermost dimension must be consecutive in the global tensor");
  for (const auto extent : size)
    if (extent < 0) throw std::invalid_argument("sizes must not be negative");
  Box box{reinterpret_cast<char*>(data),
          named<Type>(type,
                      {{"float32", Type::float32},
                       {"float64", Type::float64},
                       {"bfloat16", Type::bfloat16},
                       {"float16", Type::float16}},
                      "type"),
          std::move(size), std::move(stride), std::move(global_stride), start};
  Draw draw{named<Law>(law,
                       {{"uniform", Law::uniform},
                        {"normal", Law::normal},
                        {"truncated_normal", Law::truncated_normal}},
                       "law"),
            {}, key, stream};
  Parameters& p = draw.parameters;
  auto expect = [&](std::size_t count) {
    if (numbers.size() != count) throw std::invalid_argument("wrong count of numbers for law '" + law + "'");
  };
  switch (draw.law) {
    case Law::uniform:
      expect(3);
      p.low = numbers[0], p.span = numbers[1], p.high = numbers[2];
      break;
    case Law::normal:
      expect(2);
      p.mean = numbers[0], p.std = numbers[1];
      break;
    case Law::truncated_normal:
      expect(9);
      p.mean = numbers[0], p.std = numbers[1], p.low = numbers[2], p.high = numbers[3];
      p.w_inner = numbers[4], p.c = numbers[5], p.d = numbers[6], p.l_inner = numbers[7], p.v_split = numbers[8];
      p.left_count = left_count, p.left = side(left), p.right = side(right);
      break;
  }
  const nb::gil_scoped_release released;
  fill(box, draw, instruction_set, threads);
}

}  // namespace

NB_MODULE(_kernels, m) {
  m.def("instruction_sets", &instruction_sets, "Names of the instruction sets built and present, best first.");
  m.def("fill_box", &fill_box, nb::arg("data"), nb::arg("type"), nb::arg("size"), nb::arg("stride"),
        nb::arg("global_stride"), nb::arg("start"), nb::arg("law"), nb::arg("numbers"), nb::arg("left_count"),
        nb::arg("left"), nb::arg("right"), nb::arg("key"), nb::arg("stream"), nb::arg("instruction_set"),
        nb::arg("threads"), "Write a box of a global tensor; see goodinit.rng.native.");
}
