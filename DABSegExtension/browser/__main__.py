"""Start of the browser workbench: `python -m DABSegExtension.browser`."""

from __future__ import annotations

from DABSegExtension.browser.gateway import main

from DABSegCore.progress import run_command

if __name__ == "__main__":
    run_command(main)
