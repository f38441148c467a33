// The Python module goodinit._kernels. Python checks every argument; here only what would crash.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <stdexcept>

#if defined(__linux__)
#include <cerrno>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>
#endif

#include "dispatch.hpp"

namespace nb = nanobind;
using namespace goodinit;

namespace {

struct ReadOnly : std::runtime_error {
  using std::runtime_error::runtime_error;
};

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

// Whether the first and the last element can be written: the kernel says so instead of ending the process.
// The bytes that are tried are about to be overwritten, whatever slices come before and after.
bool writable(char* low, char* high) {
#if defined(__linux__)
  static const int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
  // Memory is protected by pages, none of them smaller than 4096 bytes.
  const bool one_page = reinterpret_cast<std::uintptr_t>(low) / 4096 == reinterpret_cast<std::uintptr_t>(high) / 4096;
  const iovec bytes[] = {{low, 1}, {high, 1}};
  const int count = one_page ? 1 : 2;
  if (zero < 0) return true;
  const ssize_t written = readv(zero, bytes, count);
  return written == count || (written < 0 && errno != EFAULT);
#else
  (void)low, (void)high;
  return true;
#endif
}

char* address(const Box& box, std::int64_t position, std::int64_t item) {
  std::int64_t offset = 0;
  for (std::size_t d = box.size.size(); d-- > 0; position /= box.size[d]) offset += position % box.size[d] * box.stride[d];
  return box.data + offset * item;
}

constexpr const char* kReadOnly = "the tensor's memory cannot be written";
// Fewer elements are written sooner than other Python threads could make use of the time.
constexpr std::int64_t kReleaseFrom = 1 << 14;

std::int64_t size_of(Type type) { return type == Type::float64 ? 8 : type == Type::float32 ? 4 : 2; }

void fill_box(std::uintptr_t data, const std::string& type, std::vector<std::int64_t> size,
              std::vector<std::int64_t> stride, std::vector<std::uint64_t> global_stride, std::uint64_t start, std::int64_t first, std::int64_t last,
              const std::string& law, const std::vector<double>& numbers, std::uint64_t left_count,
              const std::vector<double>& left, const std::vector<double>& right, std::uint64_t key,
              std::uint32_t stream, const std::string& instruction_set, int threads) {
  if (size.empty() || stride.size() != size.size() || global_stride.size() != size.size())
    throw std::invalid_argument("size, stride and global_stride must have one length, at least 1");
  if (global_stride.back() != 1 && size.back() > 1)
    throw std::invalid_argument("the innermost dimension must be consecutive in the global tensor");
  std::int64_t count = 1;
  for (std::size_t d = 0; d < size.size(); ++d) {
    if (size[d] < 0 || stride[d] < 0) throw std::invalid_argument("sizes and strides must not be negative");
    if (__builtin_mul_overflow(count, size[d], &count)) throw std::invalid_argument("the box is too large");
  }
  if (first < 0 || last < first || last > count) throw std::invalid_argument("positions outside the box");
  if (first == last) return;
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
  const std::int64_t item = size_of(box.type);
  if (!writable(address(box, first, item), address(box, last - 1, item))) throw ReadOnly(kReadOnly);
  const nb::gil_scoped_release released;
  fill(box, draw, first, last, instruction_set, threads);
}

// The call of small tensors: a contiguous whole one, and few arguments to convert.
void fill_whole(std::uintptr_t data, int type, std::int64_t count, int law, double a, double b, double c,
                std::uint64_t key, std::uint32_t stream, const std::string& instruction_set, int threads) {
  if (type < 0 || type > static_cast<int>(Type::float16)) throw std::invalid_argument("unknown type");
  if (count < 0) throw std::invalid_argument("count must not be negative");
  if (count == 0) return;
  Draw draw{static_cast<Law>(law), {}, key, stream};
  Parameters& p = draw.parameters;
  switch (draw.law) {
    case Law::uniform:
      p.low = a, p.span = b, p.high = c;
      break;
    case Law::normal:
      p.mean = a, p.std = b;
      break;
    default:
      throw std::invalid_argument("this law has more than three numbers");
  }
  const Box box{reinterpret_cast<char*>(data), static_cast<Type>(type), {count}, {1}, {1}, 0};
  if (!writable(box.data, box.data + (count - 1) * size_of(box.type))) throw ReadOnly(kReadOnly);
  if (count < kReleaseFrom) {
    fill(box, draw, 0, count, instruction_set, 1);
    return;
  }
  const nb::gil_scoped_release released;
  fill(box, draw, 0, count, instruction_set, threads);
}

}  // namespace

NB_MODULE(_kernels, m) {
  nb::exception<ReadOnly>(m, "ReadOnlyError", PyExc_ValueError);
  m.def("instruction_sets", &instruction_sets, "Names of the instruction sets built and present, best first.");
  m.def("fill_box", &fill_box, nb::arg("data"), nb::arg("type"), nb::arg("size"), nb::arg("stride"),
        nb::arg("global_stride"), nb::arg("start"), nb::arg("first"), nb::arg("last"), nb::arg("law"), nb::arg("numbers"), nb::arg("left_count"),
        nb::arg("left"), nb::arg("right"), nb::arg("key"), nb::arg("stream"), nb::arg("instruction_set"),
        nb::arg("threads"), "Write a box of a global tensor; see goodinit.rng.native.");
  m.def("fill_whole", &fill_whole, "Write a contiguous whole tensor; see goodinit.rng.native.");
}
