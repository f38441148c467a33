"""The C++ around a program: vector types, mathematical functions, and the loop over steps."""

from __future__ import annotations

from goodinit.comparing.engines.compiled.lowering import Lowered
from goodinit.comparing.engines.compiled.pointwise import LIBRARY, VECTOR

__all__ = ["FUNCTIONS", "source"]

#: Functions whose vector form is looked up when the program is loaded, with their number of arguments.
FUNCTIONS: dict[str, int] = {**dict.fromkeys(LIBRARY, 1), "pow": 2, "atan2": 2}

_HEAD = r"""
#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__AVX__)
#include <immintrin.h>
#endif
#define U _Pragma("GCC unroll 4")
typedef @T@ T;
enum { W = @W@ };
typedef T V __attribute__((vector_size(sizeof(T) * W), may_alias));
typedef decltype(V{} < V{}) N;
typedef @I@ I;
static inline V splat(T x) { return V{} + x; }
#define one splat((T)1)
static inline V float_of(N x) { return __builtin_convertvector(x, V); }
static inline N int_of(V x) { return __builtin_convertvector(x, N); }
static inline V mask_to_f(N x) { return x ? one : V{}; }
static inline N mask_to_i(N x) { return -x; }
static inline V at_most(V x, V y) { return x > y ? y : x; }
static inline N at_most(N x, N y) { return x > y ? y : x; }
static inline I lane_index(I k, I size) { return k < 0 ? k + size : k; }
static inline V m_sqrt(V x) {
#if @AVX512@
  return (V)@SQRT@(x);
#else
  V r; for (int l = 0; l < W; l++) r[l] = std::sqrt(x[l]); return r;
#endif
}
"""

# A vector form that is missing is made up by C's own function, lane by lane.
_FUNCTION = {
    1: "static V (*t_{0})(V); static inline V m_{0}(V x) {{ if (t_{0}) return t_{0}(x);"
    " V r; for (int l = 0; l < W; l++) r[l] = std::{0}(x[l]); return r; }}\n",
    2: "static V (*t_{0})(V, V); static inline V m_{0}(V x, V y) {{ if (t_{0}) return t_{0}(x, y);"
    " V r; for (int l = 0; l < W; l++) r[l] = std::{0}(x[l], y[l]); return r; }}\n",
}

_RUN = r"""
extern "C" void init(void** found) { @INIT@ }
extern "C" void run(long steps, long groups, V* state, V* memory, const T* scalars, const int32_t* rates,
                    long rate_count, const void* const* data, const int32_t* batches,
                    const int32_t* rows) {
#if defined(__x86_64__)
  // Numbers below 1e-38 would slow every operation that meets them; they count as 0.
  unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040);
#endif
  for (long g = 0; g < groups; g++) {
    V* S = state + g * @STATE@;
    V* M = memory;
    for (long t = 0; t < steps; t++) {
      for (int l = 0; l < W; l++) {
        const int32_t* batch = batches + (rows[g * W + l] * steps + t) * @BATCH@;
        for (int b = 0; b < @BATCH@; b++) {
@LOAD@        }
        const T* h = scalars + (t * rate_count + rates[g * W + l]) * @SCALARS@;
        @FEED@
      }
      step(S, M);
    }
  }
#if defined(__x86_64__)
  _mm_setcsr(before);
#endif
}
"""


def source(lowered: Lowered, lanes: int, batch: int) -> tuple[str, int]:
    """Return the C++ of a program, and how many vectors of memory it needs beside the state.

    Args:
        lowered: the program.
        lanes: numbers in a vector.
        batch: examples in a step.
    """
    program = lowered.program
    offsets, memory = program.places()
    single = str(program.scalar) == "torch.float32"
    used = sorted({*program.first, *lowered.data})
    declared = "".join(
        f"{VECTOR[program.kinds[array]]}*const b{array}=({VECTOR[program.kinds[array]]}*)"
        f"({program.fixed.get(array) or f'M+{offsets[array]}'});"
        for array in used
    )
    body = "\n".join(program.statements)
    names = [name for name in FUNCTIONS if f"m_{name}(" in body]
    number = {"f": "T", "i": "I", "b": "I"}
    load = ""
    for index, array in enumerate(lowered.data):
        kind, wide = program.kinds[array], program.sizes[array] // batch
        number_of, vector = number[kind], VECTOR[kind]
        load += (
            f"          {{ const auto* e = (const {number_of}*)data[{index}] + (long)batch[b] * {wide};\n"
            f"            for (int f = 0; f < {wide}; f++)\n"
            f"              (({vector}*)M)[{offsets[array]} + b * {wide} + f][l] = e[f]; }}\n"
        )
    words = {
        "T": "float" if single else "double",
        "I": "int32_t" if single else "int64_t",
        "W": lanes,
        "AVX512": int(lanes * (4 if single else 8) == 64),
        "SQRT": "_mm512_sqrt_ps" if single else "_mm512_sqrt_pd",
        "INIT": "".join(
            f"memcpy(&t_{name},found+{list(FUNCTIONS).index(name)},sizeof(void*));" for name in names
        ),
        "STATE": lowered.state,
        "BATCH": batch,
        "SCALARS": len(lowered.scalars),
        "FEED": "".join(f"M[{offsets[array]}][l]=h[{at}];" for at, array in enumerate(lowered.scalars)),
    }
    functions = "".join(_FUNCTION[FUNCTIONS[name]].format(name) for name in names)
    step = f"static void step(V*__restrict__ S,V*__restrict__ M){{{declared}\n{body}\n}}\n"
    text = _HEAD + functions + step + _RUN.replace("@LOAD@", load)
    for word, value in words.items():
        text = text.replace(f"@{word}@", str(value))
    return text, memory
