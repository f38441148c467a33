#!/bin/sh
# Build the fuzzer of the bindings and run it: tools/fuzz.sh PYTHON BUILD_FOLDER SECONDS [CLANG++]
set -eu
python=$1 build=$2 seconds=$3 clang=${4:-clang++}
command -v "$clang" >/dev/null || { echo "fuzz: no $clang here: install clang, then run it again"; exit 0; }
root=$(cd "$(dirname "$0")/.." && pwd)
nanobind=$("$python" -c 'import nanobind, os; print(os.path.dirname(nanobind.__file__))')
include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
library=$("$python" -c 'import sysconfig as s; print(s.get_config_var("LIBDIR"))')
version=$("$python" -c 'import sysconfig as s; print(s.get_config_var("LDVERSION"))')
mkdir -p "$build" "$build/corpus"
cd "$build"
common="-std=c++20 -fPIC -g1 -O1 -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined"
compile() {  # OBJECT SOURCE FLAGS...
    object=$1 source=$2
    shift 2
    [ -e "$object" ] && [ -z "$(find "$root/csrc" "$source" -newer "$object")" ] || "$clang" $common "$@" -c "$source" -o "$object"
}
kernel="-ffp-contract=off -fno-math-errno -I$root/csrc"
x86=""
case $(uname -m) in x86_64)
    x86="-DGOODINIT_X86"
    compile avx2.o "$root/csrc/kernel.cpp" $kernel -DGOODINIT_ISA=avx2 -mavx2 -mf16c
    compile avx512.o "$root/csrc/kernel.cpp" $kernel -DGOODINIT_ISA=avx512 -mavx2 -mf16c \
        -mavx512f -mavx512dq -mavx512bw -mavx512vl ;;
esac
compile baseline.o "$root/csrc/kernel.cpp" $kernel -DGOODINIT_ISA=baseline
compile dispatch.o "$root/csrc/dispatch.cpp" $x86
compile bindings.o "$root/csrc/bindings.cpp" -I"$include" -I"$nanobind/include"
compile fuzz.o "$root/tools/fuzz_bindings.cpp" -I"$include"
# Not ours: without instruments.
[ -e nanobind.o ] || "$clang" -std=c++17 -O1 -fPIC -fno-strict-aliasing -I"$include" -I"$nanobind/include" \
    -I"$nanobind/ext/robin_map/include" -c "$nanobind/src/nb_combined.cpp" -o nanobind.o
"$clang" -fsanitize=address,undefined,fuzzer ./*.o -L"$library" -lpython"$version" -Wl,-rpath,"$library" -lpthread -o fuzz
ASAN_OPTIONS=detect_leaks=0 ./fuzz -max_total_time="$seconds" -max_len=256 -rss_limit_mb=4096 \
    -print_final_stats=1 corpus
