"""The command-line program.

Every failure is one sentence on standard error: status 2 when what was asked cannot be (a wrong option, a bad setting, a
taken port), 1 when it was tried and failed, 130 after an interrupt.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from app.errors import ConfigError, StillwatchError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status.

    Args:
        arguments: without the program's name; None takes those of the process.
    """
    import typer

    from app.cli import words
    from app.cli.program import program

    command = typer.main.get_command(program)
    words.plain(command)
    try:
        status = command.main(arguments, prog_name="stillwatch", standalone_mode=False)
    except typer.TyperException as error:
        return _fail(error.format_message().replace(": Value error, ", ": "), error.exit_code)
    except typer.Abort:
        return 130
    except ConfigError as error:
        return _fail(str(error), 2)
    except StillwatchError as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if os.environ.get("STILLWATCH_DEBUG"):
            raise
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{os.path.basename(frame.filename)}:{frame.lineno}"
        # The message is left out: it may quote what a client sent.
        return _fail(
            f"a fault in the program: {type(error).__name__} at {place}; STILLWATCH_DEBUG=1 shows the traceback", 1
        )
    return status if isinstance(status, int) else 0


def _fail(sentence: str, status: int) -> int:
    print(f"stillwatch: {' '.join(sentence.split())}", file=sys.stderr)
    return status
