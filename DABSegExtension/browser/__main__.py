"""Start of the browser workbench: `python -m DABSegExtension.browser`."""

from __future__ import annotations

from collections.abc import Sequence

from DABSegCore.errors import packages_for
from DABSegCore.progress import run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Raises:
        InputError: If an option is bad or a package is missing.
    """
    with packages_for("the browser workbench"):
        from DABSegExtension.browser import command
    return command.main(argv)


if __name__ == "__main__":
    run_command(main)
