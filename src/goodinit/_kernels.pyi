from collections.abc import Sequence

class ReadOnlyError(ValueError): ...

def instruction_sets() -> list[str]: ...
def fill_box(
    data: int,
    type: str,
    size: Sequence[int],
    stride: Sequence[int],
    global_stride: Sequence[int],
    start: int,
    first: int,
    last: int,
    law: str,
    numbers: Sequence[float],
    left_count: int,
    left: Sequence[float],
    right: Sequence[float],
    key: int,
    stream: int,
    instruction_set: str,
    threads: int,
) -> None: ...
def fill_whole(
    data: int,
    type: int,
    count: int,
    law: int,
    a: float,
    b: float,
    c: float,
    key: int,
    stream: int,
    instruction_set: str,
    threads: int,
    /,
) -> None: ...
