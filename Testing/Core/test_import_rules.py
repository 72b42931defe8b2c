"""Import rules: who may import whom, read from the sources, so that the house keeps its shape."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

CORE = Path(__file__).parents[2] / "DABSegCore"
FILES = {".".join(path.relative_to(CORE).with_suffix("").parts): path for path in sorted(CORE.rglob("*.py"))}

RUNTIME = {"torch", "numpy", "scipy", "SimpleITK"}
LEARNING = {"tensorboard", "matplotlib", "monai", "einops"}
LEARNERS = {"comparison.figures", "compare", "evaluate", "evaluation.figures"}
LEARNERS |= {"models.peers", "training.curves", "training.history", "training.pictures"}
"""The only ones that may use the extra `train`, where it is installed."""
PLANS = {"tomllib", "tomli"}
"""Only plans of comparisons are TOML; Python reads it from 3.11 on."""
BARE = {"torch", "numpy"}  # all that training may count on
SLICER = {"slicer", "vtk", "qt", "ctk", "mrml"}
FOUNDATIONS = {  # module: third parties it may import; of the core, only each other
    "config": set(),
    "errors": set(),
    "files": set(),
    "heap": set(),
    "orphan": set(),
    "progress": set(),
    "labels": {"numpy"},
    "degrade": {"torch"},
    "strengths": set(),
    "rotation": {"numpy"},
} | {module: set() for module in FILES if module.startswith("networks.")}
TORCH_FREE = [
    *("cases", "config", "errors", "figure", "itk", "labels", "metrics", "phantom", "preprocess", "progress"),
    *("arguments", "rotation", "score", "virtual", "volume"),
]


def imported(source: str, *, at_once: bool = False) -> set[str]:
    """Dotted names of everything a source imports: wherever in it, or `at_once`, when it is itself imported."""
    names: set[str] = set()
    tree = ast.parse(source)
    for node in _run_at_once(tree.body) if at_once else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _run_at_once(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """What of a body runs without being called: not what is in functions, nor what is for type checkers alone."""
    for node in body:
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from _run_at_once(node.orelse)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield node
            yield from _run_at_once(ast.iter_child_nodes(node))


def third_parties(source: str, *, at_once: bool = False) -> set[str]:
    """Packages a source imports that are neither Python's nor ours."""
    names = {name.split(".")[0] for name in imported(source, at_once=at_once)}
    return names - set(sys.stdlib_module_names) - {"DABSegCore"}


def core_modules(source: str, *, at_once: bool = False) -> set[str]:
    """Modules of the core a source imports, as the keys of `FILES`."""
    found = set()
    for name in imported(source, at_once=at_once):
        parts = name.split(".")
        if parts[0] == "DABSegCore":
            ends = [".".join(parts[1:end]) for end in range(len(parts), 1, -1)]
            found |= {
                next((end + package for end in ends for package in ("", ".__init__") if end + package in FILES), "")
            }
    return found - {""}


def loaded_with(modules: Iterable[str]) -> set[str]:
    """Modules of the core that are loaded when some are imported, these and the packages they are in included."""
    loaded: set[str] = set()
    waiting = set(modules)
    while waiting:
        name = waiting.pop()
        loaded.add(name)
        parts = name.split(".")
        packages = {".".join([*parts[:end], "__init__"]) for end in range(len(parts))}
        waiting |= (core_modules(read(name), at_once=True) | packages) - loaded
    return loaded


def read(module: str) -> str:
    return FILES[module].read_text(encoding="utf-8")


def commands() -> set[str]:
    """Modules with a command line."""
    return {module for module in FILES if "run_command(main" in read(module)} - {"progress"}


def test_the_reader_of_imports_sees_them_all():
    source = "import vtk.util\nfrom os import path\ndef f():\n    from DABSegCore.models.stem import build_stem\n"
    assert imported(source) == {"vtk.util", "os.path", "DABSegCore.models.stem.build_stem"}
    assert third_parties(source) == {"vtk"}
    assert core_modules(source) == {"models.stem"}
    assert core_modules("from DABSegCore import labels") == {"labels"}
    assert core_modules("from DABSegCore.models import build_model") == {"models.__init__"}


def test_the_reader_of_imports_knows_which_run_at_once():
    source = (
        "import a\nif TYPE_CHECKING:\n    import b\nelse:\n    import c\ntry:\n    import d\nexcept ImportError:\n"
        "    import e\nclass C:\n    import f\n    def g(self):\n        import g\ndef h():\n    import h\n"
    )
    assert imported(source, at_once=True) == set("acdef")
    assert imported(source) == set("abcdefgh")


def test_training_starts_with_nothing_but_torch_and_numpy():
    modules = loaded_with({"train", *(module for module in FILES if module.startswith("training."))})
    assert {"__init__", "phantom.patient", "motion.kspace", "models.dabseg", "volume", "nifti"} <= modules
    needed = {module: third_parties(read(module), at_once=True) - BARE for module in sorted(modules)}
    assert {module: packages for module, packages in needed.items() if packages} == {}


@pytest.mark.parametrize("module", FILES)
def test_what_may_be_absent_is_imported_where_it_is_used(module):
    assert not third_parties(read(module), at_once=True) & LEARNING


@pytest.mark.parametrize("module", FILES)
def test_no_module_needs_more_than_it_may(module):
    allowed = RUNTIME | (LEARNING if module in LEARNERS else PLANS if module == "comparison.reading" else set())
    assert third_parties(read(module)) <= allowed
    assert not third_parties(read(module)) & SLICER


@pytest.mark.parametrize("module", FOUNDATIONS)
def test_foundations_stand_on_nothing_of_ours(module):
    assert third_parties(read(module)) <= FOUNDATIONS[module]
    assert core_modules(read(module)) <= set(FOUNDATIONS)


@pytest.mark.parametrize("module", [module for module in FILES if module.startswith("models.")])
def test_models_know_only_torch_and_their_configurations(module):
    assert third_parties(read(module)) <= ({"torch", *LEARNING} if module in LEARNERS else {"torch"})
    ours = {name for name in core_modules(read(module)) if not name.startswith(("models.", "networks."))}
    assert ours <= {"config", "degrade", "errors", "labels"}


def test_only_volume_knows_image_files():
    assert {module for module in FILES if third_parties(read(module)) & {"SimpleITK", "nibabel"}} == {"itk"}
    assert {module for module in FILES if core_modules(read(module)) & {"itk", "nifti"}} == {"itk", "volume"}


def test_volume_stands_below_cases_and_preprocess():
    assert not core_modules(read("volume")) & {"cases", "preprocess", *commands()}
    assert not {"volume", "cases", "preprocess"} & set().union(*(core_modules(read(m)) for m in FOUNDATIONS))


def test_no_command_is_imported_by_another_module():
    importers = {(module, name) for module in FILES for name in core_modules(read(module)) & commands()}
    assert importers == set()


def test_no_module_imports_itself_by_a_detour():
    graphlib.TopologicalSorter({module: core_modules(read(module)) for module in FILES}).prepare()


@pytest.mark.parametrize("module", ["", *TORCH_FREE])
def test_torch_is_not_loaded_by(module):
    program = f"import sys, DABSegCore{module and '.'}{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
