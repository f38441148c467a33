#!/bin/sh
# The kernels' bits on ARM (NEON), in an emulator: tools/neon.sh PYTHON BUILD_FOLDER [CASES]
# Python writes what is asked and what NumPy answers; a C++ program compiled for ARM replays it.
set -eu
python=$1 build=$2 cases=${3:-20000}
compiler=aarch64-linux-gnu-g++ emulator=qemu-aarch64-static
for program in $compiler $emulator; do
    command -v $program >/dev/null || { echo "neon: no $program here (Debian: apt install g++-aarch64-linux-gnu qemu-user-static)"; exit 0; }
done
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$build"
"$python" "$root/tools/neon_cases.py" "$build/cases.txt" "$cases"
flags="-std=c++20 -O2 -I$root/csrc -fno-math-errno -fno-trapping-math -Wno-psabi"
compile() {  # PROGRAM FLAG: CMakeLists.txt's arithmetic, and the same as any ARM compiler fuses it by itself
    $compiler $flags -frounding-math -c "$root/tools/neon_check.cpp" -o "$build/check.o"
    $compiler $flags -c "$root/csrc/dispatch.cpp" -o "$build/dispatch.o"
    $compiler $flags "$2" -DGOODINIT_ISA=baseline -c "$root/csrc/kernel.cpp" -o "$build/$1.o"
    $compiler -static "$build/check.o" "$build/dispatch.o" "$build/$1.o" -o "$build/$1"
}
compile neon -ffp-contract=off
compile fused -ffp-contract=fast
$emulator "$build/neon" "$build/cases.txt"
# The planted fault: fused operations round once where two roundings are promised.
! $emulator "$build/fused" "$build/cases.txt" || { echo "neon: the planted fault was NOT seen"; exit 1; }
echo "neon: every bit is NumPy's; the planted fault was seen"
