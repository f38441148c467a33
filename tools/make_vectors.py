"""Write the known answers in tests/vectors that every back end must reproduce bit for bit.

Run it as ``python tools/make_vectors.py`` after a deliberate change of a drawn value, which is a
breaking change: raise `goodinit.rng.ALGORITHM` and say so in the changelog. The tests read the
files and never write them. Floats are hexadecimal bit patterns; indices and keys hexadecimal.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch

from goodinit.rng import (
    ALGORITHM,
    Region,
    derive_key,
    fill_normal_,
    fill_truncated_normal_,
    fill_uniform_,
    words,
)
from goodinit.rng.elementary import DOUBLE, SINGLE
from goodinit.rng.laws import standard_normal
from goodinit.rng.truncated import standard_values, truncate

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "vectors"
GLOBAL = 2**64
# First indices: the beginning, an odd place, the carry into the index's and the block number's high
# word, the end of the address space.
STARTS = (0, 12345677, 2**32 - 5, 2**34 - 6, 2**64 - 11)
COUNT = 11
FILLS = {"uniform": fill_uniform_, "normal": fill_normal_, "truncated_normal": fill_truncated_normal_}
PARAMETERS = {
    "uniform": ((0.0, 1.0), (-1.0, 1.0), (-0.05, 0.07)),
    "normal": ((0.0, 1.0), (0.1, 0.02)),
    "truncated_normal": (
        (0.0, 1.0, -2.0, 2.0),
        (0.0, 0.02, -0.06, 0.06),
        (0.5, 2.0, -1.0, 7.0),
        (0.0, 1.0, 2.0, 4.0),
        (1.0, 2.0, -math.inf, 0.5),
        (0.0, 1.0, 30.0, math.inf),
        (0.0, 1.0, -math.inf, math.inf),
    ),
}
DTYPES = {
    "float32": (torch.float32, torch.int32, 8),
    "float64": (torch.float64, torch.int64, 16),
    "bfloat16": (torch.bfloat16, torch.int16, 4),
    "float16": (torch.float16, torch.int16, 4),
}
INTERVALS = ((-2.0, 2.0), (-1.0, 3.0), (2.0, 4.0), (3.0, 8.0), (99.0, math.inf), (-math.inf, math.inf))


def bits(tensor: torch.Tensor, integer: torch.dtype, digits: int) -> list[str]:
    """Bit patterns of a tensor."""
    mask = 16**digits - 1
    return [f"{value & mask:0{digits}x}" for value in tensor.view(integer).tolist()]


def edge_integers(width: int) -> list[int]:
    """Integers at the edges of every piece of the arithmetic."""
    top = 2**width - 1
    powers = [2**n for n in range(0, width, 3)]
    return sorted({0, top, top - 1, top // 2, top // 2 + 1, *powers, *(top - p for p in powers)})


def fills() -> list[dict[str, object]]:
    """One case for each law, parameters, dtype and first index."""
    cases: list[dict[str, object]] = []
    for law, choices in PARAMETERS.items():
        key = derive_key(2026, f"vectors.{law}")
        for number, parameters in enumerate(choices):
            for name, (dtype, integer, digits) in DTYPES.items():
                if digits == 4 and number:
                    continue
                for start in STARTS:
                    tensor = torch.empty(COUNT, dtype=dtype)
                    FILLS[law](
                        tensor, key, *parameters, region=Region((GLOBAL,), (start,), (COUNT,)), stream=number
                    )
                    cases.append(
                        {
                            "law": law,
                            "parameters": [str(p) for p in parameters],
                            "key": hex(key),
                            "stream": number,
                            "dtype": name,
                            "start": hex(start),
                            "values": bits(tensor, integer, digits),
                        }
                    )
    return cases


def arithmetic() -> dict[str, object]:
    """Values of chosen integers, which no index of a test would meet."""
    out: dict[str, object] = {}
    for precision, width, integer, digits in ((SINGLE, 32, torch.int32, 8), (DOUBLE, 64, torch.int64, 16)):
        name = precision.real.__name__
        edges = edge_integers(width)
        even = np.array(edges, precision.unsigned)
        odd = np.array(edges[5:] + edges[:5], precision.unsigned)
        pair = standard_normal(even, odd, precision)
        out[f"normal_{name}"] = {
            "even": [hex(n) for n in even.tolist()],
            "odd": [hex(n) for n in odd.tolist()],
            "first": bits(torch.from_numpy(pair[0]), integer, digits),
            "second": bits(torch.from_numpy(pair[1]), integer, digits),
        }
        count_bits = 32 if precision is SINGLE else 53
        edges = edge_integers(count_bits)
        for low, high in INTERVALS:
            cut = truncate(0.0, 1.0, low, high, count_bits)
            z = standard_values(np.array(edges, precision.unsigned), cut, precision)
            out[f"quantile_{name}_{low}_{high}"] = {
                "low": str(low),
                "high": str(high),
                "integers": [hex(n) for n in edges],
                "values": bits(torch.from_numpy(z), integer, digits),
            }
    return out


def addresses() -> dict[str, object]:
    """Keys, and words at chosen indices."""
    names = ("", "weight", "layers.0.weight", "層.é", "a\0b")
    keys = [
        {"seed": seed, "name": name, "key": hex(derive_key(seed, name))}
        for seed in (0, 1, 2**64 - 1)
        for name in names
    ]
    index = [start + i for start in STARTS for i in range(COUNT)]
    cases = [
        {
            "key": hex(key),
            "draw": draw,
            "stream": stream,
            "index": [hex(i) for i in index],
            "words": [f"{w:08x}" for w in words(key, np.array(index, np.uint64), draw, stream).tolist()],
        }
        for key, draw, stream in ((0, 0, 0), (0x0123456789ABCDEF, 1, 0), (2**64 - 1, 0, 2**32 - 1))
    ]
    return {"keys": keys, "words": cases}


def reflected(gaussian: np.ndarray) -> np.ndarray:
    """The orthogonal matrix of a tall Gaussian one, one reflection after the other, as haar.py states it."""
    rows, columns = gaussian.shape
    q, signs = np.eye(rows, columns, dtype=np.longdouble), np.ones(columns)
    for k in reversed(range(columns)):
        v = gaussian[k:, k].astype(np.longdouble)
        signs[k] = -1.0 if v[0] < 0 else 1.0
        v[0] += signs[k] * np.sqrt((v * v).sum())
        q[k:] -= np.outer(2 * v / (v * v).sum(), v @ q[k:])
    return q * -signs


def orthogonal() -> list[dict[str, object]]:
    """Small matrices, to the last bit of float64 where long double is wider."""
    cases: list[dict[str, object]] = []
    for shape in ((1, 1, 1), (1, 2, 2), (1, 5, 3), (1, 3, 5), (2, 4, 4)):
        name, (count, rows, columns) = f"vectors.orthogonal.{shape}", shape
        gaussian = torch.empty(shape, dtype=torch.float64)
        fill_normal_(gaussian, derive_key(0, name), 0.0, 1.0)
        tall = [m if rows >= columns else m.T for m in gaussian.numpy()]
        matrices = [reflected(m) if rows >= columns else reflected(m).T for m in tall]
        values = np.array(matrices).astype(np.float64).reshape(-1)
        cases.append(
            {"name": name, "shape": [count, rows, columns], "values": [x.hex() for x in values.tolist()]}
        )
    return cases


def write(name: str, content: object) -> None:
    """Write one file, one short line for each list."""
    text = json.dumps({"algorithm": ALGORITHM, "content": content}, ensure_ascii=True, separators=(",", ":"))
    (FOLDER / f"{name}.json").write_text(text.replace("},{", "},\n{") + "\n", encoding="ascii")


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    write("fills", fills())
    write("arithmetic", arithmetic())
    write("addresses", addresses())
    write("orthogonal", orthogonal())


if __name__ == "__main__":
    main()
