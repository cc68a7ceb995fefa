"""What every command of the command line has: the app, common options, and how it says what went wrong.

That is one line on stderr and an exit code. 0: done. 1: failed, as when training diverges or a disk is full. 2: bad
usage or input. 130: interrupted. With EVSIM_TRACEBACK=1 in the environment errors show where they were raised.
"""

import os
import sys
import warnings
from typing import Annotated

import typer

app = typer.Typer(
    name="evsim",
    help="Event-based recurrent networks that learn online, exactly, in memory that does not grow.",
    epilog="evsim COMMAND --help tells what a command takes.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


Option = typer.Option
Json = Annotated[bool, Option("--json", help="Print one JSON object as the last line of stdout; tables go to stderr.")]
Force = Annotated[bool, Option("--force", help="Replace what an earlier call wrote there.")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="A run folder, checkpoint or bundle.", show_default=False)]


def chosen(options, *others):
    """The options of a command that were given, apart from those that are `others`."""
    return {name: value for name, value in options.items() if name not in others and value is not None}


def guarded(command, *arguments) -> int:
    """Call that function of `evsim.commands`; what a user can cause becomes one line and an exit code."""
    from evsim import commands

    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warned(warnings.showwarning)
            getattr(commands, command)(*arguments)
    except commands.Failed as error:
        return _failed(error, 1)
    except KeyboardInterrupt as stop:
        return _failed(stop, 130, str(stop) or "interrupted")
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, TypeError, ImportError, FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        return _failed(error, 2)
    except MemoryError as error:
        told = f"there is not enough memory ({error}): take fewer units or streams, or a shorter block or window"
        return _failed(error, 1, told)
    except (FloatingPointError, OSError) as error:
        return _failed(error, 1)
    return 0


def _failed(error, code, text=None) -> int:
    if os.environ.get("EVSIM_TRACEBACK"):
        raise error
    complain(text or str(error) or type(error).__name__)
    return code


def _warned(others):
    """A warning to the user is one line, without the place in the code; `others` shows those to developers."""

    def show(message, category, *place, **more):
        if category is UserWarning:
            complain(f"warning: {message}")
        else:
            others(message, category, *place, **more)

    return show


def complain(text):
    if text:
        print(f"evsim: {' '.join(text.split())}", file=sys.stderr, flush=True)
