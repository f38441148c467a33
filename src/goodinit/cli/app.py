"""The command `goodinit`: its subcommands, and what becomes of errors."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

import click

import goodinit
from goodinit.cli.apply import apply
from goodinit.cli.check import check
from goodinit.cli.compare import compare
from goodinit.cli.diff import diff
from goodinit.cli.lab import lab
from goodinit.cli.plan import plan
from goodinit.cli.recipes import recipes
from goodinit.cli.settings import Settings
from goodinit.cli.verify import verify
from goodinit.errors import ExampleError, GoodinitError, PlanMismatchError, UncoveredError

__all__ = ["main"]

BAD_USE = 2
BUG = 3
INTERRUPTED = 130  # 128 + SIGINT, as shells count it

# Errors whose message gives the cure in Python, and the same cure on the command line.
_ON_THE_COMMAND_LINE: dict[type[GoodinitError], str] = {
    UncoveredError: "on the command line: --override 'NAME=Normal(std=0.02)', or --override NAME=keep",
    ExampleError: (
        "on the command line: --example 64x3x32x32, or --example FILE.safetensors; for check, --batch instead"
        "; for compare, --data FILE.safetensors with a tensor for each argument, and y"
    ),
    PlanMismatchError: "on the command line: goodinit plan MODEL --out plan.json",
}


_HELP = """Plan, apply, prove and check the initialization of a PyTorch network.

\b
MODEL, in every command, is one of
  package.module:callable     a function or class that makes the model
  path/file.py:callable       the same, in a file
  transformers:TYPE           a model type of that library, such as gpt2,
  transformers:config.json    or its configuration in a file
  timm:NAME                   a model of that library, without its weights
"""

_EPILOG = """\b
Examples:
  goodinit check models.py:build          fit to train? if not, why?
  goodinit plan models.py:build --example 64x3x32x32
  goodinit apply models.py:build --seed 7 --out w.safetensors
  goodinit verify models.py:build --weights w.safetensors --seed 7
  goodinit compare models.py:build --data digits --lr 0.1 --steps 500
  goodinit lab run sigmoid-vanishes       an experiment, with its answer

\b
Exit codes: 0 fine, 1 findings or a mismatch, 2 bad use, 3 a bug in goodinit.
"""


@click.group(
    invoke_without_command=True,
    help=_HELP,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(goodinit.__version__, prog_name="goodinit")
@click.pass_context
def goodinit_command(context: click.Context) -> int:
    """Print the help text where no command is named."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        return BAD_USE
    return 0


for _command in (check, plan, apply, verify, diff, compare, lab, recipes):
    goodinit_command.add_command(_command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: the arguments after the program's name; None takes the process's own.

    Returns:
        0 fine, 1 findings or a mismatch, 2 bad use, 3 a bug in goodinit, 130 interrupted.

    >>> main(["--version"])
    goodinit, version ...
    0
    """
    settings = Settings()
    try:
        code = goodinit_command.main(
            None if argv is None else list(argv), prog_name="goodinit", standalone_mode=False, obj=settings
        )
    except click.UsageError as error:
        name = error.ctx.command_path if error.ctx else "goodinit"
        return _failed(f"{error.format_message().rstrip('.')} (see {name} --help)")
    except click.ClickException as error:
        return _failed(error.format_message())
    except (click.Abort, KeyboardInterrupt):
        _failed("interrupted")
        return INTERRUPTED
    except GoodinitError as error:
        if settings.traceback:
            traceback.print_exc()
        cure = next((text for kind, text in _ON_THE_COMMAND_LINE.items() if isinstance(error, kind)), None)
        return _failed(f"{error}\n{cure}" if cure else str(error))
    except Exception:
        traceback.print_exc()
        _failed("this is a bug in goodinit; please report it with the lines above")
        return BUG
    return int(code or 0)


def _failed(message: str) -> int:
    click.secho("goodinit: ", fg="red", nl=False, err=True)
    click.echo(message, err=True)
    sys.stderr.flush()
    return BAD_USE
