"""The command line: which commands there are, and how an error becomes one line.

A command's module is imported when that command runs, so `dreamcade --help` never waits for torch.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence

import click

COMMANDS: dict[str, tuple[str, str]] = {
    "play": ("app.commands.play:play", "play a dreamed game live with the keyboard"),
    "dream": ("app.commands.play:dream", "dream a clip into an MP4, a GIF, an NPZ or a folder of PNGs"),
    "replay": ("app.commands.replay:replay", "dream a recorded capsule again, watch, film or check it"),
    "compare": ("app.commands.compare:compare", "show the real game beside the dreamed one, and how long they agree"),
    "worlds": ("app.commands.play:worlds", "list the worlds that can be played"),
    "games": ("app.commands.games:games", "list the real games that can be recorded"),
    "collect": ("app.commands.collect:collect", "record real games into shards"),
    "inspect": ("app.commands.inspect:inspect", "look at a recorded data set"),
    "import": ("app.commands.exchange:import_", "make a data set of Minari, video, pictures or HDF5 of others"),
    "export": ("app.commands.exchange:export", "hand a data set to Minari, exactly"),
    "browse": ("app.commands.browse:browse", "look through a recorded data set, mark, export and delete episodes"),
    "train": ("app.commands.train:train", "learn a world from shards"),
    "evaluate": ("app.commands.evaluate:evaluate", "measure a world against held-out real play"),
    "rebuild": ("app.commands.rebuild:rebuild", "what a tokenizer or an autoencoder leaves of real frames"),
    "bench": ("app.commands.bench:bench", "compare recipes on the same play, for the same time"),
    "make": ("app.commands.make:make", "collect, train and evaluate in one go"),
    "doctor": ("app.commands.doctor:doctor", "what this machine has, what is missing, how to get it"),
}
TABLE = "\n| "
"""What begins a row of a table in an error; the only thing that may take more than one line."""
BAD_INPUT, OUT_OF_MEMORY, INTERRUPTED = 2, 4, 130
LESS = "to train, use a smaller --set PART.batch or PART.length"


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports each only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table: playing first."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command and return the command; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command), f"{module}:{attribute} is not a command"
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in --help, written from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which known one is nearest."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(COMMANDS)}"
            raise click.UsageError(f"there is no command '{args[0]}'; {hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dreamcade", prog_name="dreamcade")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Dreamcade: an arcade whose games are dreamed. Without a command it opens the menu of worlds.

    To go straight into a game: dreamcade play pong
    """
    if ctx.invoked_subcommand is None and not importlib.import_module("app.commands.arcade").open_arcade():
        play = ctx.command.get_command(ctx, "play") if isinstance(ctx.command, click.Group) else None
        assert play is not None, "the table of commands has no 'play'"
        ctx.invoke(play)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return the exit status; whatever goes wrong becomes one line on stderr."""
    try:
        result = cli.main(None if argv is None else list(argv), prog_name="dreamcade", standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - so that the interpreter's last flush stays silent
        return 0
    except Exception as problem:  # the one place where everything is caught
        if os.environ.get("DREAMCADE_DEBUG") == "1":
            raise
        text, status = explain(problem)
        first, *rows = text.split(TABLE) if TABLE in text else [text]
        click.echo(f"error: {' '.join(first.split())}", err=True)
        for row in rows:
            click.echo(f"| {row}", err=True)
        return status
    return result if isinstance(result, int) else 0


def explain(problem: Exception) -> tuple[str, int]:
    """What to print about a problem, and the exit status that goes with it."""
    if isinstance(problem, click.ClickException):
        return _lower(problem.format_message()), BAD_INPUT
    if isinstance(problem, ModuleNotFoundError):
        return f"{_lower(str(problem))}; 'dreamcade doctor' says what is missing and how to get it", BAD_INPUT
    if isinstance(problem, OSError) and problem.strerror:
        where = f" {problem.filename}" if problem.filename else ""
        return f"cannot use{where}: {problem.strerror.lower()}", BAD_INPUT
    if isinstance(problem, (ValueError, OSError)) or hasattr(problem, "exit_code"):
        return str(problem), int(getattr(problem, "exit_code", BAD_INPUT))
    if type(problem).__name__ == "OutOfMemoryError":
        return f"the accelerator is out of memory; {LESS}, or --device cpu", OUT_OF_MEMORY
    if isinstance(problem, MemoryError) or "can't allocate memory" in str(problem):
        return f"this machine is out of memory; {LESS}", OUT_OF_MEMORY
    return f"{type(problem).__name__}: {problem} (DREAMCADE_DEBUG=1 shows where)", 1


def _lower(text: str) -> str:
    """A sentence as a clause: first letter small, no full stop."""
    text = text.strip().rstrip(".")
    return text[:1].lower() + text[1:]


if __name__ == "__main__":
    sys.exit(main())
