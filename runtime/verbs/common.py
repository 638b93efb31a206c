"""What all verbs share: failures that the user can mend, told in one message."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

FAILED = 1


class Failure(click.ClickException):
    """A failure that is the user's to mend: one message, no traceback, status 1."""

    exit_code = FAILED


def mendable(verb: Callable[..., None]) -> Callable[..., None]:
    """Turns the errors that say what, where and what to do into one message."""

    @wraps(verb)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            verb(*args, **kwargs)
        except click.ClickException:
            raise
        except KeyboardInterrupt:
            raise Failure("stopped") from None
        except (MemoryError, RuntimeError) as error:
            # Imported late: where this is asked, torch is loaded already.
            from interactive3d.runtime.guidance.large.memory import ran_out

            if not ran_out(error):
                raise
            raise Failure("out of memory; use fewer blobs, smaller pictures or a smaller camera.batch") from None
        except OSError as error:
            raise Failure(f"{error.filename or 'input or output'}: {error.strerror or error}") from None
        except (ValueError, KeyError) as error:
            # Our own errors are ValueErrors made for people; anything else from deep inside is a bug and keeps its traceback.
            if type(error).__module__.startswith("interactive3d."):
                raise Failure(str(error)) from None
            raise

    return wrapped


def overrides_of(values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """What `--set NAME=VALUE` gives, apart.

    Raises:
        click.BadParameter: it is of another form.
    """
    pairs = []
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name.strip() or not text.strip():
            raise click.BadParameter(
                f"expected NAME=VALUE, e.g. lr.position=0.005 or lift=0.5, got {value!r}", param_hint="--set"
            )
        pairs.append((name.strip(), text.strip()))
    return tuple(pairs)


def show_diagnostics(loaded: Any) -> None:
    """Everything that the checker found, with lines and carets, on standard error."""
    from interactive3d.dsl.render import render_terminal

    if loaded.diagnostics:
        click.echo(render_terminal(loaded.diagnostics, loaded.sources, color=sys.stderr.isatty()), err=True, nl=False)
