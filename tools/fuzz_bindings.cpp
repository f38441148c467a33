// A coverage-guided fuzzer of the bindings: libFuzzer drives an embedded Python that calls
// goodinit._kernels with whatever the bytes say, under AddressSanitizer and UBSan. `make fuzz` builds and runs it.
//
// The memory that a call may write to is an allocation of its own between two poisoned ends. A call either
// raises or writes inside: the harness gives only data addresses whose box, by its sizes and strides, stays
// in that memory, since an address is the one argument that the bindings cannot check.
#include <Python.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

extern "C" PyObject* PyInit__kernels();

namespace {

struct Bytes {
  const std::uint8_t* at;
  std::size_t left;
  std::uint64_t take(int count) {
    std::uint64_t value = 0;
    for (int i = 0; i < count && left > 0; ++i, ++at, --left) value |= std::uint64_t{*at} << (8 * i);
    return value;
  }
  double real() {
    const std::uint64_t kind = take(1);
    if (kind < 64) return static_cast<double>(static_cast<std::int8_t>(take(1))) / 8;
    const std::uint64_t raw = take(8);
    double value;
    std::memcpy(&value, &raw, sizeof value);
    return value;
  }
  // Mostly small, sometimes at the ends of 64 bits.
  std::int64_t integer() {
    const std::uint64_t kind = take(1);
    if (kind < 240) return static_cast<std::int64_t>(kind % 40) - (kind >= 200 ? 20 : 0);
    return static_cast<std::int64_t>(take(8));
  }
};

constexpr std::int64_t kMemory = 1 << 14;
PyObject* module = nullptr;

void start() {
  PyImport_AppendInittab("_kernels", &PyInit__kernels);
  Py_Initialize();
  module = PyImport_ImportModule("_kernels");
  if (module == nullptr) PyErr_Print(), std::abort();
}

PyObject* list(const std::vector<std::int64_t>& values, bool is_signed) {
  PyObject* out = PyList_New(static_cast<Py_ssize_t>(values.size()));
  for (std::size_t i = 0; i < values.size(); ++i)
    PyList_SetItem(out, static_cast<Py_ssize_t>(i),
                   is_signed ? PyLong_FromLongLong(values[i])
                             : PyLong_FromUnsignedLongLong(static_cast<std::uint64_t>(values[i])));
  return out;
}

PyObject* list(Bytes& bytes, std::size_t count) {
  PyObject* out = PyList_New(static_cast<Py_ssize_t>(count));
  for (std::size_t i = 0; i < count; ++i) PyList_SetItem(out, static_cast<Py_ssize_t>(i), PyFloat_FromDouble(bytes.real()));
  return out;
}

// Whether every element of a box that the bindings accept lies in the memory.
bool inside(const std::vector<std::int64_t>& size, const std::vector<std::int64_t>& stride, std::int64_t item) {
  __int128 reach = 0;
  for (std::size_t d = 0; d < size.size() && d < stride.size(); ++d) {
    if (size[d] <= 0) return true;  // empty, or refused
    if (stride[d] < 0) return true;
    reach += static_cast<__int128>(size[d] - 1) * stride[d];
    if (reach > kMemory) return false;
  }
  return (reach + 1) * item <= kMemory;
}

void call(const char* name, PyObject* arguments) {
  PyObject* function = PyObject_GetAttrString(module, name);
  PyObject* result = PyObject_CallObject(function, arguments);
  if (result == nullptr) {
    const bool expected = PyErr_ExceptionMatches(PyExc_ValueError) || PyErr_ExceptionMatches(PyExc_TypeError);
    if (!expected) PyErr_Print(), std::abort();
    PyErr_Clear();
  }
  Py_XDECREF(result);
  Py_DECREF(function);
  Py_DECREF(arguments);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t length) {
  if (module == nullptr) start();
  static const char* const types[] = {"float32", "float64", "bfloat16", "float16", "int8"};
  static const std::int64_t items[] = {4, 8, 2, 2, 1};
  static const char* const laws[] = {"normal", "uniform", "truncated_normal", "cauchy"};
  static const std::size_t numbers[] = {2, 3, 9, 1};
  static const char* const sets[] = {"baseline", "avx2", "avx512", "sse9"};
  Bytes bytes{data, length};
  // An allocation of its own, so that the first byte outside is poisoned.
  std::unique_ptr<char[]> memory(new char[kMemory]);
  const auto address = reinterpret_cast<std::uintptr_t>(memory.get());
  const std::uint64_t choice = bytes.take(1);
  const std::size_t type = bytes.take(1) % 5, law = bytes.take(1) % 4, set = bytes.take(1) % 4;
  const std::uint64_t key = bytes.take(8), stream = bytes.take(choice & 2 ? 5 : 4);
  if (choice & 1) {
    const std::int64_t count = bytes.integer();
    if (count > kMemory / 8) return 0;
    PyObject* arguments = PyTuple_New(11);
    PyTuple_SetItem(arguments, 0, PyLong_FromUnsignedLongLong(address));
    PyTuple_SetItem(arguments, 1, PyLong_FromLong(static_cast<long>(type) - (choice & 4 ? 1 : 0)));
    PyTuple_SetItem(arguments, 2, PyLong_FromLongLong(count));
    PyTuple_SetItem(arguments, 3, PyLong_FromLong(static_cast<long>(law) - (choice & 8 ? 1 : 0)));
    for (int i = 4; i < 7; ++i) PyTuple_SetItem(arguments, i, PyFloat_FromDouble(bytes.real()));
    PyTuple_SetItem(arguments, 7, PyLong_FromUnsignedLongLong(key));
    PyTuple_SetItem(arguments, 8, PyLong_FromUnsignedLongLong(stream));
    PyTuple_SetItem(arguments, 9, PyUnicode_FromString(sets[set]));
    PyTuple_SetItem(arguments, 10, PyLong_FromLong(static_cast<long>(bytes.take(1) % 3)));
    call("fill_whole", arguments);
    return 0;
  }
  const std::size_t rank = bytes.take(1) % 5;
  std::vector<std::int64_t> size, stride, global_stride;
  for (std::size_t d = 0; d < rank; ++d) size.push_back(bytes.integer()), stride.push_back(bytes.integer());
  for (std::size_t d = 0; d < rank; ++d) global_stride.push_back(d + 1 == rank && !(choice & 4) ? 1 : bytes.integer());
  if (!inside(size, stride, items[type])) return 0;
  if (choice & 16 && rank > 0) stride.pop_back();
  const std::uint64_t begin = bytes.take(8);
  std::int64_t count = 1;
  for (const std::int64_t extent : size)
    if (__builtin_mul_overflow(count, extent, &count)) count = 0;
  if (count > kMemory) return 0;  // many elements at one address: right, but slow
  const std::int64_t first = choice & 8 ? bytes.integer() : 0, last = choice & 8 ? bytes.integer() : count;
  PyObject* arguments = PyTuple_New(17);
  int place = 0;
  const auto add = [&](PyObject* value) { PyTuple_SetItem(arguments, place++, value); };
  add(PyLong_FromUnsignedLongLong(address));
  add(PyUnicode_FromString(types[type]));
  add(list(size, true)), add(list(stride, true)), add(list(global_stride, false));
  add(PyLong_FromUnsignedLongLong(begin));
  add(PyLong_FromLongLong(first)), add(PyLong_FromLongLong(last));
  add(PyUnicode_FromString(laws[law]));
  add(list(bytes, numbers[law] + (choice & 32 ? 1 : 0)));
  add(PyLong_FromUnsignedLongLong(bytes.take(choice & 64 ? 8 : 1)));
  add(list(bytes, 4)), add(list(bytes, choice & 128 ? 3 : 4));
  add(PyLong_FromUnsignedLongLong(key)), add(PyLong_FromUnsignedLongLong(stream));
  add(PyUnicode_FromString(sets[set]));
  add(PyLong_FromLong(static_cast<long>(bytes.take(1) % 3)));
  call("fill_box", arguments);
  return 0;
}
