"""Running a compiled step for all members of a chunk."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch.fx import GraphModule

from goodinit.comparing.engines.compiled.building import lanes, loaded
from goodinit.comparing.engines.compiled.lowering import Lowered, lower
from goodinit.comparing.engines.compiled.program import kind_of
from goodinit.comparing.engines.compiled.source import source
from goodinit.comparing.engines.stacked import scalar_table
from goodinit.comparing.engines.step import NotStackable
from goodinit.comparing.inputs import Batch, leaves
from goodinit.comparing.members import Member, State
from goodinit.comparing.optimizers import Optimizer

__all__ = ["Step", "compile_step", "compiled"]

#: Vectors of memory, the state among them, beyond which torch's matrix products are faster. Measured on
#: AVX-512 with perceptrons of width 16 to 256: 5 times faster at 6,000, 1.4 times at 110,000, half as
#: fast at 400,000.
LARGEST = 200_000

#: Statements beyond which compiling, about 10 ms for each, takes too long.
LONGEST = 3000


@dataclass(frozen=True)
class Step:
    """A compiled step, ready to run on any number of members."""

    lowered: Lowered
    library: ctypes.CDLL
    memory: int
    width: int
    dtype: torch.dtype


def compile_step(graph: GraphModule, inputs: Sequence[torch.Tensor], states: int, scalars: int) -> Step:
    """Compile one member's step.

    Args:
        graph: what `one_step` gives, traced.
        inputs: an example of what it takes.
        states: how many of them are the state.
        scalars: how many of them are the optimizer's numbers.

    Raises:
        NotStackable: if an operation or a type is unknown, or there is no compiler.
    """
    dtype, device = inputs[0].dtype, inputs[0].device
    if dtype not in (torch.float32, torch.float64) or device.type != "cpu":
        raise NotStackable(
            f"its parameters are {dtype} on {device}, and C++ is written for floats on the CPU"
        )
    odd = {tensor.dtype for tensor in inputs if tensor.is_floating_point()} - {dtype}
    if odd:
        raise NotStackable(f"it mixes {dtype} with {', '.join(map(str, odd))}")
    width = lanes(dtype)
    lowered = lower(graph, inputs, states, scalars)
    statements = len(lowered.program.statements)
    if statements > LONGEST:
        raise NotStackable(f"its step has {statements} loops, which take too long to compile")
    text, memory = source(lowered, width, len(inputs[-1]))
    if memory + lowered.state > LARGEST:
        raise NotStackable(
            f"it is so large ({memory + lowered.state} numbers in a step) that torch is faster"
        )
    return Step(lowered, loaded(text, dtype), memory, width, dtype)


def compiled(
    step: Step,
    optimizer: Optimizer,
    members: Sequence[Member],
    factors: Sequence[float],
    data: Batch,
    order: Callable[[int, int], torch.Tensor],
    seeds: Sequence[int],
) -> Callable[[State, int, int], State]:
    """Return the function (state, first, last) -> state that trains members together in C++.

    Args:
        step: one member's step.
        optimizer: what it does.
        members: rates and seeds.
        factors: of the rate, for each step.
        data: training inputs and targets.
        order: (first, last) -> batches of shape (seeds, steps, batch).
        seeds: those that `order` has rows for.
    """
    lowered, width, dtype, memory = step.lowered, step.width, step.dtype, step.memory
    library = step.library
    flat = [_flat(tensor, dtype) for tensor in (*leaves(data[0]).values(), data[1])]
    rates = list(dict.fromkeys(member.lr for member in members))
    groups = -(-len(members) // width)
    # The last group is filled up with copies of the last member, whose results nobody reads.
    padded = [*members, *[members[-1]] * (groups * width - len(members))]
    rate_of = torch.tensor([rates.index(member.lr) for member in padded], dtype=torch.int32)
    row_of = torch.tensor([seeds.index(member.seed) for member in padded], dtype=torch.int32)
    threads = max(1, min(torch.get_num_threads(), groups))
    spaces = [
        _memory(lowered.program.constants, lowered.program.places()[0], memory, width, dtype)
        for _ in range(threads)
    ]

    def advance(state: State, first: int, last: int) -> State:
        steps = last - first
        batches = order(first, last).contiguous()
        scalars = scalar_table(optimizer, rates, factors, first, last).to(dtype).contiguous()
        packed = _packed(state, groups, width, dtype)
        places = (ctypes.c_void_p * len(flat))(*(tensor.data_ptr() for tensor in flat))

        def work(thread: int) -> None:
            begin, end = groups * thread // threads, groups * (thread + 1) // threads
            library.run(
                ctypes.c_long(steps),
                ctypes.c_long(end - begin),
                _pointer(packed[begin:]),
                _pointer(spaces[thread]),
                _pointer(scalars),
                _pointer(rate_of[begin * width :]),
                ctypes.c_long(len(rates)),
                places,
                _pointer(batches),
                _pointer(row_of[begin * width :]),
            )

        if threads == 1:
            work(0)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(work, range(threads)))
        return _unpacked(packed, state)

    return advance


def _pointer(tensor: torch.Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())


def _integers(dtype: torch.dtype) -> torch.dtype:
    return torch.int32 if dtype == torch.float32 else torch.int64


def _flat(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return data as lanes hold it."""
    wanted = dtype if tensor.is_floating_point() else _integers(dtype)
    flat = tensor.to(wanted)
    if tensor.dtype == torch.bool:
        flat = -flat
    return flat.contiguous()


def _aligned(count: int, dtype: torch.dtype) -> torch.Tensor:
    """Return zeros that begin where a vector may."""
    spare = torch.zeros(count + 64, dtype=dtype)
    skip = -spare.data_ptr() % 64 // dtype.itemsize
    return spare[skip : skip + count]


def _memory(
    constants: Sequence[tuple[int, torch.Tensor]],
    offsets: dict[int, int],
    size: int,
    width: int,
    dtype: torch.dtype,
) -> torch.Tensor:
    memory = _aligned(size * width, dtype).view(size, width)
    for array, values in constants:
        lanes_of = _flat(values, dtype)
        place = memory[offsets[array] : offsets[array] + len(values)]
        (place if kind_of(values.dtype) == "f" else place.view(lanes_of.dtype)).copy_(lanes_of[:, None])
    return memory


def _packed(state: State, groups: int, width: int, dtype: torch.dtype) -> torch.Tensor:
    """Return the state of shape (groups, numbers of a member, lanes)."""
    columns = [_flat(tensor, dtype).reshape(len(tensor), -1).view(dtype) for tensor in state]
    rows = torch.cat(columns, 1)
    missing = groups * width - len(rows)
    rows = torch.cat([rows, rows[-1:].expand(missing, -1)])
    packed = _aligned(rows.numel(), dtype).view(groups, rows.shape[1], width)
    return packed.copy_(rows.view(groups, width, -1).transpose(1, 2))


def _unpacked(packed: torch.Tensor, like: State) -> State:
    rows = packed.transpose(1, 2).reshape(-1, packed.shape[1])[: len(like[0])]
    state, start = [], 0
    for tensor in like:
        count = tensor[0].numel()
        columns = rows[:, start : start + count].contiguous()
        if not tensor.is_floating_point():
            columns = columns.view(_integers(packed.dtype))
            columns = columns != 0 if tensor.dtype == torch.bool else columns.to(tensor.dtype)
        state.append(columns.reshape(tensor.shape))
        start += count
    return state
