# Everything a developer or a newcomer runs. `make` alone lists the targets.
# Needs Python >= 3.10, pip and gcc; all else is installed into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# pytest-xdist worker processes; 0 runs the tests in one process.
JOBS ?= 2
INSTALL := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet

# What `make sanitize` runs: every test that calls the kernels on memory of some kind.
SANITIZED := $(patsubst %,tests/rng/test_%.py,native vectors fill common_case truncated hostile_tensors)

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench lab quality sanitize neon fuzz clean
.DELETE_ON_ERROR:

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make .venv and install goodinit with its development tools

# Torch goes first and alone, at the exact version of constraints.txt: a build that
# is there already (CPU or CUDA) satisfies it, and nothing installed later moves it.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("goodinit needs Python 3.10 or newer; %s is %s. Cure: make PYTHON=python3.12 ..." % (sys.executable, sys.version.split()[0]) if sys.version_info < (3, 10) else 0)'
	@test -x $(BIN)/python || { echo "making $(VENV) with $(PYTHON)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing $$(grep '^torch==' constraints.txt) (once)"
	@$(INSTALL) "$$(grep '^torch==' constraints.txt)"
	@echo "installing goodinit and its development tools (once)"
	@$(INSTALL) -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)  ## check, plan, initialise and train a real model on real data (about a minute)
	@$(BIN)/python examples/demo.py

test: $(STAMP)  ## run the tests; what is left out is listed with its reason
	$(BIN)/python -m pytest tests -n $(JOBS) -r fEs

check: $(STAMP)  ## formatter, linter, strict type checker, then the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict
	@$(MAKE) --no-print-directory test

bench: $(STAMP)  ## run every script in benchmarks/ and keep its figures
	@for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python "$$script" || exit 1; done

lab: $(STAMP)  ## every experiment at full size, then docs/lab.md and its pictures; interrupted, it goes on (long)
	$(BIN)/goodinit lab all --size full --out out/lab
	$(BIN)/python tools/lab_results.py out/lab

quality: $(STAMP)  ## 1e9 draws of every law against its distribution, a million fills against NumPy (half an hour)
	$(BIN)/python benchmarks/rng_quality.py
	$(BIN)/python benchmarks/kernel_agreement.py
	$(BIN)/python benchmarks/raw_words.py

# The interpreter itself is not built with the sanitizers, so their runtime must come first; it leaks by design.
# Left out are tests that start other processes, which load the installed kernels. The parameter makes a call of
# each check: the compiler takes two thirds of the time and as many faults are found.
sanitize: $(STAMP)  ## the kernel tests on a build with AddressSanitizer and UBSan (about five minutes, once)
	cmake -S . -B build/sanitize -G Ninja -DCMAKE_BUILD_TYPE=Debug -DGOODINIT_SANITIZE=ON \
	    -DCMAKE_CXX_FLAGS="--param asan-instrumentation-with-call-threshold=0" \
	    -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja -DPython_EXECUTABLE=$(abspath $(BIN))/python \
	    -Dnanobind_DIR=$$($(BIN)/python -m nanobind --cmake_dir) >/dev/null
	$(BIN)/ninja -C build/sanitize
	LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \
	    $(BIN)/python tools/with_kernels.py build/sanitize $(SANITIZED) -k "not environment and not missing_kernels" -n 0

neon: $(STAMP)  ## the kernels' bits on ARM, in an emulator (Debian: g++-aarch64-linux-gnu, qemu-user-static)
	tools/neon.sh $(abspath $(BIN))/python build/neon

fuzz: $(STAMP)  ## a coverage-guided fuzzer (clang) on the bindings, two minutes, sanitizers on
	tools/fuzz.sh $(abspath $(BIN))/python build/fuzz 120

clean:  ## remove what the other targets made, .venv included
	rm -rf $(VENV) build dist out src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests benchmarks examples tools -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
