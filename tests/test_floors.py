"""The house's floors: imports go down only, each third-party package has one home, modules stay small."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import twolayer

PACKAGE = Path(twolayer.__file__).parent

# From the cellar up. A module may import those on lower floors, and those of its own wing (a folder).
FLOORS = [
    ["errors", "randomness", "blas", "children"],
    ["npyfile", "selection"],
    ["model", "schedules", "config", "data", "runs", "progress", "signals"],
    ["backprop", "reference", "optim", "saved_model"],
    ["engine", "metrics", "start", "export"],
    ["compiled", "views"],
    ["engines", "settings", "fitting"],
    ["divergence", "events", "gradcheck_result"],
    ["solver", "gradcheck"],
    ["solver_state", "from_config", "evaluate", "report_data", "explanation", "bridges"],
    ["recording", "same_run", "explain", "check"],
    ["outcome", "experiments"],
    ["training", "estimator"],
    ["examples", "init_config", "verify_resume", "sweep", "benchmark"],
    ["fuzz"],
    ["commands"],
    ["__main__"],
]

# Which top-level modules may import a package; all others must not.
HOMES = {
    "matplotlib": {"views"},
    "bokeh": {"views"},
    "tqdm": {"progress"},
    "ruamel": {"config"},
    "pydantic": {"config"},
    "pydantic_core": {"config"},
    "click": {"commands", "__main__"},
    "sklearn": {"estimator", "benchmark"},
    "optuna": {"sweep"},
    "dask": {"sweep"},
    "distributed": {"sweep"},
    "numba": {"compiled"},
    "onnx": {"export"},
    "safetensors": {"export"},
    "torch": {"benchmark", "bridges"},
    "jax": {"benchmark"},
}


def wing(path: Path) -> str:
    """The top-level name of a module of the package: its folder, or its own."""
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports(path: Path) -> list[str]:
    """Dotted names that a module imports, but for those that only a type checker sees."""
    tree = ast.parse(path.read_text("utf-8"))
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            skipped |= set(ast.walk(node))
    names = []
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" or path.parent != PACKAGE)


def test_every_module_has_a_floor():
    known = {name for floor in FLOORS for name in floor}
    assert {wing(path) for path in MODULES} <= known


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path):
    level = {name: number for number, floor in enumerate(FLOORS) for name in floor}
    for name in imports(path):
        root, _, rest = name.partition(".")
        target = rest.split(".")[0]
        if root != "twolayer":
            continue
        if target in level and target != wing(path):
            assert level[target] < level[wing(path)], f"{path.name} on floor {level[wing(path)]} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_third_party_package_has_one_home(path):
    for name in imports(path):
        homes = HOMES.get(name.split(".")[0])
        assert homes is None or wing(path) in homes, f"{name} belongs in {homes}"


def test_modules_stay_small():
    too_long = {
        str(path.relative_to(PACKAGE)): lines
        for path in PACKAGE.rglob("*.py")
        if (lines := len(path.read_text("utf-8").splitlines())) > 250
    }
    assert not too_long


def test_importing_twolayer_imports_neither_matplotlib_nor_any_extra():
    code = "import sys, twolayer; twolayer.Solver, twolayer.loss_and_gradients; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {
        "matplotlib",
        "bokeh",
        "numba",
        "scipy",
        "sklearn",
        "optuna",
        "dask",
        "onnx",
        "safetensors",
        "torch",
        "pandas",
    }
    assert not heavy & set(loaded)


def test_the_public_names_are_what_they_say():
    from twolayer import Params, Solver, forward, init_params, load_config, load_model, loss_and_gradients, train

    assert all(callable(each) for each in (Params, Solver, forward, init_params, load_config, load_model, train))
    assert loss_and_gradients.__module__ == "twolayer.network.backprop"
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        twolayer.trian  # noqa: B018
