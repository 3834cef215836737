"""The layout of the package: imports go down only, files have a readable size, each thing has one home."""

from __future__ import annotations

import ast
import inspect
import math
import subprocess
import sys
from collections import defaultdict
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest
from pydantic import ValidationError

import twolayer
from twolayer.config import SolverConfig
from twolayer.interop.classifier import TwoLayerClassifier
from twolayer.network.settings import DEPENDENT_DEFAULTS, SolverSettings

PACKAGE = Path(twolayer.__file__).parent

# A folder's level is one more than the highest level that it imports.
LEVELS = {
    "utils": 1,
    "network": 1,
    "config": 2,
    "data": 2,
    "reference": 2,
    "solver": 3,
    "runs": 3,
    "views": 4,
    "interop": 4,
    "training": 5,
    "sweep": 6,
    "commands": 7,
    "__main__": 8,
    "__init__": 2,  # what __init__.pyi names is imported when it is first used
}

# The folders that may import a third-party package.
HOMES = {
    "bokeh": {"views"},
    "click": {"commands", "__main__"},
    "dask": {"utils"},
    "distributed": {"utils"},
    "lazy_loader": {"__init__"},
    "llvmlite": {"solver"},
    "matplotlib": {"views"},
    "numba": {"solver"},
    "onnx": {"interop"},
    "optuna": {"sweep"},
    "plotille": {"views"},
    "PIL": {"views"},
    "pyarrow": {"data"},
    "pydantic": {"config"},
    "pydantic_core": {"config"},
    "ruamel": {"config"},
    "safetensors": {"interop"},
    "scipy": {"solver"},
    "sklearn": {"interop"},
    "torch": {"interop"},
    "tornado": {"views"},
    "tqdm": {"utils"},
}

FILES = sorted(PACKAGE.rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def room(path: Path) -> str:
    """The folder at the top of the package that a file is in, or the file's own name at the top."""
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def module(path: Path) -> str:
    return ".".join(("twolayer", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


MODULES = {module(path): path for path in FILES}


@cache
def imports(path: Path) -> frozenset[str]:
    """Dotted names that a file imports anywhere, also under TYPE_CHECKING and inside functions."""
    names = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


@cache
def imported_modules(path: Path) -> frozenset[str]:
    """The modules of the package that a file imports."""
    found = set()
    for name in imports(path):
        inner = name if name in MODULES else name.rpartition(".")[0]
        if inner in MODULES:
            found.add(inner)
    return frozenset(found - {module(path)})


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def test_the_top_of_the_package_holds_the_twelve_folders_and_nothing_else():
    names = {path.name for path in PACKAGE.iterdir()} - {"__pycache__", "shipped"}
    folders = set(LEVELS) - {"__main__", "__init__"}
    assert names == folders | {"__main__.py", "__init__.py", "__init__.pyi", "py.typed"}
    assert len(folders) == 12


def test_imports_go_down_and_the_levels_are_minimal():
    below = defaultdict(set)
    for path in FILES:
        for name in imported_modules(path):
            if room(MODULES[name]) != room(path):
                below[room(path)].add(room(MODULES[name]))
    levels = {name: 1 + max((LEVELS[other] for other in below[name]), default=0) for name in LEVELS}
    assert levels == LEVELS


def test_nothing_in_the_package_imports_its_public_face():
    assert not [relative(path) for path in FILES if "twolayer" in imported_modules(path)]


def test_there_is_no_cycle_of_modules_even_under_type_checking():
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above[above.index(name) :], name))
        if name not in done:
            for other in sorted(imported_modules(MODULES[name])):
                visit(other, (*above, name))
            done.add(name)

    for name in MODULES:
        visit(name, ())


def test_files_functions_folders_and_the_package_have_a_readable_size():
    lines = {path: len(path.read_text("utf-8").splitlines()) for path in [*FILES, PACKAGE / "__init__.pyi"]}
    long_files = {relative(path): count for path, count in lines.items() if count > 400}
    long_functions = {
        f"{relative(path)}:{node.name}": length
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > 60
    }
    full_folders = {
        relative(folder): len(names)
        for folder in {PACKAGE, *(path.parent for path in FILES)}
        if len(names := [each for each in folder.iterdir() if each.name != "__pycache__"])
        > {PACKAGE: 16, PACKAGE / "commands": 18}.get(folder, 14)  # one file a command
    }
    assert (long_files, long_functions, full_folders) == ({}, {}, {})
    assert sum(lines.values()) <= 19_000


def test_a_small_module_has_more_than_one_user():
    users = defaultdict(set)
    for path in FILES:
        for name in imported_modules(path):
            users[name].add(path)
    small = [
        relative(path)
        for name, path in MODULES.items()
        if path.name != "__init__.py"
        and room(path) not in ("commands", "reference")
        and len(path.read_text("utf-8").splitlines()) < 80
        and len(users[name]) == 1
    ]
    assert not small


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_each_third_party_package_has_one_home(path):
    for name in imports(path):
        homes = HOMES.get(name.partition(".")[0])
        assert homes is None or room(path) in homes, f"{name} belongs in {homes}"


def test_a_public_class_name_means_one_thing():
    homes = defaultdict(list)
    for path in FILES:
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(relative(path))
    assert not {name: where for name, where in homes.items() if len(where) > 1}


def test_a_command_imports_no_other_command():
    commands = [path for path in FILES if room(path) == "commands" and path.parent.name == "commands"]
    for path in commands:
        others = {name for name in imported_modules(path) if name.startswith("twolayer.commands.")}
        assert path.name == "__init__.py" or not others, f"{path.name} imports {others}"


@pytest.mark.parametrize("path", [path for path in FILES if room(path) in ("network", "solver")], ids=relative)
def test_the_network_and_the_solver_neither_print_write_nor_read_the_clock(path):
    calls = [node.func for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    writing = {"write_text", "write_bytes", "savez", "tofile"}
    assert not {call.id for call in calls if isinstance(call, ast.Name)} & {"print", "open", "input"}
    assert not {call.attr for call in calls if isinstance(call, ast.Attribute)} & writing
    assert not {name.partition(".")[0] for name in imports(path)} & {"time", "datetime", "logging"}


def test_importing_twolayer_imports_neither_matplotlib_nor_any_extra():
    code = "import sys, twolayer; twolayer.Solver, twolayer.loss_and_gradients; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    light = {"click", "lazy_loader", "tqdm", "pydantic_core"}
    assert not (set(HOMES) - light | {"pandas", "polars"}) & set(loaded)


def test_the_public_names_are_what_they_say():
    from twolayer.network.backprop import loss_and_gradients

    assert twolayer.loss_and_gradients is loss_and_gradients
    assert all(callable(getattr(twolayer, name)) for name in twolayer.__all__)
    with pytest.raises(AttributeError, match="attribute trian"):
        twolayer.trian  # noqa: B018


@pytest.mark.parametrize(
    ("old", "name"),
    [
        ("estimator", "TwoLayerClassifier"),
        ("estimator", "params_from_mlp"),
        ("bridges", "params_to_torch"),
        ("saved_model", "load_model"),
    ],
)
def test_the_import_paths_of_the_0_1_readme_still_work_and_warn(old, name):
    for program in (
        f"from twolayer.{old} import {name} as found",
        f"import twolayer.{old}; found = twolayer.{old}.{name}",
    ):
        with pytest.warns(DeprecationWarning, match=f"use twolayer.{name}"):
            exec(program, namespace := {})
        assert namespace["found"] is getattr(twolayer, name)


def test_the_settings_have_one_set_of_names_ranges_and_defaults():
    """The config's section is derived from SolverSettings; the estimator's signature is written by hand."""
    solver = {each.name: each.default for each in fields(SolverSettings)}
    config = {name: key.default for name, key in SolverConfig.model_fields.items()}
    estimator = {name: each.default for name, each in inspect.signature(TwoLayerClassifier).parameters.items()}
    assert config.keys() == solver.keys() - {"shuffle", "seed", "evaluate_rows", "objective"} | {"class_weight"}
    assert solver.keys() - estimator.keys() == {"seed", "objective"}  # the estimator has random_state
    differ = {
        "optimizer": ("sgd", "momentum", "adam"),
        "epochs": (10, 40, 100),
        "monitor": (None, "val_accuracy", None),
    }
    dependent = {name: (None, values[config[chooser]], None) for name, (chooser, values) in DEPENDENT_DEFAULTS.items()}
    for name in config.keys() - {"class_weight"}:
        found = (solver[name], config[name], estimator[name])
        assert found == (differ | dependent).get(name, (solver[name],) * 3), name


@pytest.mark.parametrize("name", [each.name for each in fields(SolverSettings) if each.metadata["bounds"]])
def test_the_config_and_the_solver_refuse_the_same_values(name):
    if name not in SolverConfig.model_fields:
        return
    for value in (-1, 0, 1e-300, 0.5, 1, 1.5, 2, 10**9, 10**9 + 1, math.inf, math.nan, True, "1"):
        try:
            SolverSettings(**{name: value})
        except (TypeError, ValueError):
            taken = False
        else:
            taken = True
        try:
            SolverConfig(**{name: value})
        except ValidationError:
            assert not taken, value
        else:
            assert taken, value
