"""Command line of the browser workbench.

python -m DABSegExtension.browser CASE_DIR          # one case, or a folder of them; more may follow
python -m DABSegExtension.browser --virtual 7       # a made-up patient
python -m DABSegExtension.browser CASES --host 0.0.0.0   # for others, too: with a token, which is printed
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import os
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Iterator, Sequence
from pathlib import Path

from aiohttp import web
from DABSegLib.process.scratch import scratch_folder

from DABSegCore.cases import case_folders, find_case
from DABSegCore.errors import InputError
from DABSegExtension.browser.access import Access, is_loopback, token_for
from DABSegExtension.browser.gateway import Gateway
from DABSegExtension.browser.links import MOST_SEED
from DABSegExtension.browser.sessions import Sessions, note

NEEDED = ("slicer", "vtk", "trame", "trame_slicer", "torch")
"""What workers import; looked for here, so that it is said at once if one is missing."""

BOUNDS = {
    "max_sessions": (1, 1000),
    "max_upload_mib": (1, 1 << 20),
    "idle_minutes": (0.1, 1e6),
    "virtual": (0, MOST_SEED),
    "port": (0, 65535),
}

WORKER = "DABSegExtension.browser.worker"


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C.

    Raises:
        InputError: If an option or a case is bad, a package is missing or the port is taken.
    """
    options = _parse(argv)
    _check(options)
    cases = find_named(options.cases)
    token = token_for(options.host, options.token)
    with _bound(options.host, options.port) as listener, _private_folder() as folder:
        asyncio.run(_serve(options, cases, token, listener, folder))
    return 0


def find_named(places: Sequence[Path]) -> dict[str, Path]:
    """Every complete case in or below some folders, by name; of an incomplete one it is said, and it is left out.

    Raises:
        InputError: If a place holds none at all, or two cases have one name.
    """
    cases: dict[str, Path] = {}
    for place in places:
        for folder in case_folders(place):
            try:
                name = find_case(folder).case_id
                if "=" in name:
                    raise InputError(f"{folder} holds the case {name}, but = has a meaning here; rename it", "bad-name")
            except InputError as fault:
                if folder == place:
                    raise
                note(f"left out: {fault}")
                continue
            if cases.setdefault(name, folder) != folder:
                raise InputError(
                    f"{cases[name]} and {folder} both hold the case {name}, but each needs its own name; rename one or "
                    "leave it out",
                    code="same-case-twice",
                )
    return {name: folder.resolve() for name, folder in cases.items()}


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m DABSegExtension.browser",
        description="Serve the browser workbench: the work of the Slicer module in a web page (research use only).",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("cases", nargs="*", type=Path, metavar="CASE_DIR", help="folder of a case, or of many")
    parser.add_argument("--virtual", type=int, metavar="SEED", help="open this virtual patient first")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; any but loopback demands a token")
    parser.add_argument("--port", type=int, default=8400, help="0 takes a free one")
    parser.add_argument("--token", help="what to demand of browsers (default: none on loopback, else a random one)")
    parser.add_argument("--no-open", action="store_true", help="do not open a browser here")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="checkpoint instead of the one that ships")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument(
        "--max-sessions", type=int, default=4, metavar="N", help="pages at a time; each takes about 1 GB"
    )
    parser.add_argument("--max-upload-mib", type=int, default=512, metavar="N", help="of the four files together")
    parser.add_argument("--idle-minutes", type=float, default=30, metavar="N", help="how long a closed page is kept")
    parser.add_argument("--worker", default=WORKER, help=argparse.SUPPRESS)  # another module, for tests
    return parser.parse_args(argv)


def _check(options: argparse.Namespace) -> None:
    """Refuse what cannot work, before anything is started.

    Raises:
        InputError: If something cannot.
    """
    for name, (least, most) in BOUNDS.items():
        value = getattr(options, name)
        if value is not None and not least <= value <= most:
            raise InputError(
                f"--{name.replace('_', '-')} is {value}, but must be {least} to {most}; give another", "bad-argument"
            )
    if options.weights is not None and not options.weights.is_file():
        raise InputError(f"{options.weights} is no file, but --weights must be a checkpoint; check the path", "no-file")
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing and options.worker == WORKER:
        raise InputError(
            f"the workbench needs {', '.join(missing)}, which this Python does not have; run it with make view, or "
            "install the extra: pip install -e '.[browser]' -c constraints-browser.txt",
            code="missing-package",
        )


@contextlib.contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens.

    Raises:
        InputError: If the port is taken, or there is no such address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host.strip("[]"), port), family=family)
    except (OSError, UnicodeError) as error:  # the latter for a name that none can have
        why = getattr(error, "strerror", None) or error
        raise InputError(
            f"{host}, port {port}, cannot be listened on ({why}); end the other server, or choose "
            "another --port (0 takes a free one)",
            code="cannot-listen",
        ) from error
    with listener:
        yield listener


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    """The server's temporary folder.

    Raises:
        InputError: If it cannot be made.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(scratch_folder())
        except InputError as fault:  # its cure is in Slicer's settings
            cause = str(fault).rpartition("; ")[0]
            raise InputError(f"{cause}; free some space or set TMPDIR to another folder", fault.code) from fault
        yield folder


async def _serve(
    options: argparse.Namespace, cases: dict[str, Path], token: str | None, listener: socket.socket, folder: Path
) -> None:
    """Serve on a socket until the process is asked to end."""
    host, port = options.host, listener.getsockname()[1]
    sessions = Sessions(
        folder,
        _worker_options(options, cases),
        most=options.max_sessions,
        idle_s=options.idle_minutes * 60,
        module=options.worker,
    )
    gateway = Gateway(sessions, Access(host, port, token), options.max_upload_mib << 20, _first(options, cases))
    runner = web.AppRunner(gateway.app(), access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    keeping = asyncio.create_task(sessions.run())
    try:
        _announce(host, port, token, opens=not options.no_open)
        await _asked_to_end(keeping)
    finally:
        keeping.cancel()
        await sessions.close()
        await runner.cleanup()


def _worker_options(options: argparse.Namespace, cases: dict[str, Path]) -> list[str]:
    """What every worker is started with, after its folder."""
    words = [f"--case={name}={folder}" for name, folder in cases.items()]
    words += [f"--device={options.device}", f"--max-upload-mib={options.max_upload_mib}"]
    return words + ([] if options.weights is None else [f"--weights={options.weights.resolve()}"])


def _first(options: argparse.Namespace, cases: dict[str, Path]) -> dict[str, str]:
    """What a page opens whose address does not say it."""
    if options.virtual is not None:
        return {"virtual": str(options.virtual)}
    return {"case": next(iter(cases))} if len(cases) == 1 else {}


def _announce(host: str, port: int, token: str | None, *, opens: bool) -> None:
    """Print the address, and open it in a browser."""
    name = socket.gethostname() if host in ("0.0.0.0", "::") else host
    name = f"[{name}]" if ":" in name and not name.startswith("[") else name
    address = f"http://{name}:{port}/" + (f"?token={token}" if token else "")
    print(f"DABSeg workbench (research use only): {address}\nCtrl-C ends it.", flush=True)
    if not is_loopback(host):
        note("What is sent is not encrypted: use it in a network you trust, or through a tunnel (ssh -L).")
    if opens and _has_screen():
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


def _has_screen() -> bool:
    """Whether a browser has a window to open in; without one, `webbrowser` starts those that take the terminal."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


async def _asked_to_end(keeping: asyncio.Task[None]) -> None:
    """Wait for Ctrl-C or a request to terminate; what goes wrong in keeping the sessions comes out here."""
    asked = asyncio.Event()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
        numbers.append(signal.SIGHUP)  # its terminal was closed, or the connection to it
    for number in numbers:
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C cancels this instead
            asyncio.get_running_loop().add_signal_handler(number, asked.set)
    waiting = asyncio.create_task(asked.wait())
    done, _ = await asyncio.wait([waiting, keeping], return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
