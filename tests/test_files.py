"""A written file is either the old one or the new one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from goodinit.files import beside, write_beside


def test_a_new_file_appears_whole_with_ordinary_rights(tmp_path) -> None:
    path = write_beside(tmp_path / "a" / "b.json", b"text")
    assert path.read_bytes() == b"text"
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_an_exception_leaves_the_old_file_and_no_litter(tmp_path) -> None:
    path = write_beside(tmp_path / "b.json", b"old")

    def interrupted() -> None:
        with beside(path) as part:
            part.write_bytes(b"new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_process_leaves_the_old_file_whole(tmp_path) -> None:
    path = write_beside(tmp_path / "b.json", b"old")
    script = textwrap.dedent(f"""
        import os, signal
        from goodinit.files import beside
        with beside({str(path)!r}) as part:
            part.write_bytes(b"ne")
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    outcome = subprocess.run([sys.executable, "-c", script], check=False)
    assert outcome.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
