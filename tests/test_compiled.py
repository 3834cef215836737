"""The compiled engine against the NumPy engine, through Solver and whole trainings, and its parts against NumPy."""

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("scipy")

from twolayer.config import config_from_dict
from twolayer.network.model import flat_copy, flat_zeros, init_params
from twolayer.network.optim import OPTIMIZERS
from twolayer.network.schedules import SCHEDULES
from twolayer.network.settings import SolverSettings
from twolayer.solver.compiled import engine as compiled_engine
from twolayer.solver.compiled import jit, layers, products, updates
from twolayer.solver.compiled.jit import numba
from twolayer.solver.compiled.layers import exp_of_nonpositive, log_of_at_least_one
from twolayer.solver.engine import TrainingState
from twolayer.solver.solver import Solver, make_engine
from twolayer.utils.errors import ConfigError

TYPES = [np.float32, np.float64]


def from_python(function):
    """The compiled function as something that Python can call."""
    return numba.njit(lambda *given: function(*given))


def trained(engine, dtype, hidden=24, epochs=1, **settings):
    """Solver's parameters and history after a training on 300 rows of a teacher network."""
    rng = np.random.default_rng(5)
    X = rng.standard_normal((300, 12)).astype(dtype)
    y = np.argmax(np.maximum(X @ rng.standard_normal((12, 8)), 0) @ rng.standard_normal((8, 4)), axis=1)
    params = init_params(12, hidden, 4, rng=rng, dtype=dtype)
    rate = 0.01 if settings.get("optimizer") in ("rmsprop", "adam", "adamw") else 0.05
    solver = Solver(
        params, X, y, engine=engine, batch_size=16, epochs=epochs, **{"learning_rate": rate, "reg": 1e-3, **settings}
    )
    history = list(solver)
    return solver.params, np.array([[record["train_loss"], record["gradient_norm"]] for record in history])


def assert_same(dtype, tolerance, **settings):
    ours, ours_history = trained("numba", dtype, **settings)
    theirs, theirs_history = trained("numpy", dtype, **settings)
    np.testing.assert_allclose(ours_history, theirs_history, rtol=tolerance, atol=tolerance)
    for name, array in theirs.named().items():
        np.testing.assert_allclose(ours.named()[name], array, rtol=tolerance, atol=tolerance)


VARIANTS = {
    "plain": {},
    "class weights": {"class_weights": np.array([1.0, 0.0, 2.5, 0.3])},
    "row weights": {"row_weights": np.linspace(0, 1, 300)},
    "clipping": {"max_grad_norm": 0.2},
    "no hidden layer": {"hidden": 0},
    "everything": {"class_weights": np.array([1.0, 2.0, 0.5, 0.3]), "max_grad_norm": 0.5, "objective": True},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("optimizer", updates.CODES)
def test_an_epoch_in_float32_agrees_with_the_numpy_engine(optimizer, variant):
    assert_same(np.float32, 1e-5, optimizer=optimizer, **VARIANTS[variant])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("optimizer", updates.CODES)
def test_whole_trainings_in_float64_agree_with_the_numpy_engine(optimizer, variant):
    assert_same(np.float64, 1e-10, optimizer=optimizer, epochs=12, **VARIANTS[variant])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_whole_trainings_agree_under_every_schedule(schedule):
    settings = {"schedule": schedule, "warmup_epochs": 1, "factor": 0.5, "step_epochs": 2, "plateau_patience": 1}
    assert_same(np.float64, 1e-10, optimizer="momentum", epochs=8, **settings)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("optimizer", updates.CODES)
def test_updates_of_networks_with_products_by_blas_are_the_numpy_engines(optimizer, dtype):
    D, H, C, B = 300, 230, 10, 64
    assert B * D * H > products.TILES
    adaptive = optimizer in ("rmsprop", "adam", "adamw")
    rate = 1e-4 if adaptive else 0.1
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((5 * B - 7, D)).astype(dtype), rng.integers(0, C, 5 * B - 7)
    results = []
    for engine in ("numba", "numpy"):
        slots = [flat_zeros(D, H, C, dtype) for _ in range(OPTIMIZERS[optimizer].n_slots)]
        state = TrainingState(flat_copy(init_params(D, H, C, rng=np.random.default_rng(1), dtype=dtype)), slots)
        make_engine(engine, state, SolverSettings(optimizer=optimizer, reg=0.1), B).run(X, y, None, np.full(5, rate))
        results.append([state.flat.vector, *(slot.vector for slot in state.slots)])
    # In float32 a unit near 0 may fire in one and not in the other; forgetting r would make a difference of 4e-3.
    # Where gradients are divided by their own size, the last digits of small ones count.
    tolerance = 2e-4 if dtype == np.float32 else 1e-7 if adaptive else 1e-13
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    ("D", "H", "C", "B"),
    [
        (3, 0, 20, 50),
        (40, 9, 3, 33),
        (70, 20, 26, 16),
        (20, 64, 26, 3),
        (9, 100, 3, 7),
        (64, 32, 10, 64),
        (5, 40, 2, 90),
    ],
)
def test_a_few_steps_of_networks_of_any_shape_are_the_numpy_engines(D, H, C, B, dtype):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((3 * B - 1, D)).astype(dtype), rng.integers(0, C, 3 * B - 1)
    vectors = []
    for engine in ("numba", "numpy"):
        state = TrainingState(flat_copy(init_params(D, H, C, rng=np.random.default_rng(1), dtype=dtype)), [])
        make_engine(engine, state, SolverSettings(optimizer="sgd", reg=0.1), B).run(X, y, None, np.full(3, 0.1))
        vectors.append(state.flat.vector)
    np.testing.assert_allclose(*vectors, rtol=0, atol=2e-5 if dtype == np.float32 else 1e-13)


# Loops, tiles of full and of less height, tiles beside and over each other, transposes on either side, BLAS.
SIZES = [
    (1, 1, 1), (5, 4, 3), (7, 5, 40), (64, 33, 9), (65, 70, 66), (3, 900, 17), (31, 10, 50), (600, 9, 70), (9, 64, 40),
    (600, 400, 10), (130, 131, 129), (150, 120, 130), (20, 900, 160),
]  # fmt: skip


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("n", "k", "m"), SIZES)
def test_products_are_numpys_also_of_parts_of_larger_matrices(n, k, m, dtype):
    rng = np.random.default_rng(n)
    gemm = products.gemm_address(np.dtype(dtype))
    product, product_tt = from_python(products.product), from_python(products.product_tt)
    A, B = (rng.standard_normal(shape).astype(dtype) for shape in ((n, k), (k, m)))

    def part_of(matrix):
        """The matrix as the left columns of a wider one, flat, and how far apart the rows begin then."""
        wide = np.full((len(matrix), matrix.shape[1] + 3), np.nan, dtype)
        wide[:, : matrix.shape[1]] = matrix
        return wide.reshape(-1), wide.shape[1]

    def assert_is(multiply, expected):
        start = np.full((n, m), np.nan, dtype)  # what was there must not matter
        for view in (part_of, lambda matrix: (matrix.copy().reshape(-1), matrix.shape[1])):
            out, ld = view(start)
            beyond = out.reshape(len(start), ld)[:, start.shape[1] :].copy()
            multiply(view, out, ld, np.full((n + k + m) * max(n, k, m, 16), np.nan, dtype))
            out = out.reshape(len(start), ld)
            np.testing.assert_allclose(out[:, : start.shape[1]], expected, rtol=0, atol=k * 20 * np.finfo(dtype).eps)
            np.testing.assert_array_equal(out[:, start.shape[1] :], beyond)

    for at, a in ((False, A), (True, A.T)):
        assert_is(lambda of, *rest, at=at, a=a: product(gemm, at, n, k, m, *of(a), *of(B), *rest, B[0]), A @ B)
    assert_is(lambda of, out, ld, scratch: product_tt(gemm, n, k, m, *of(A.T), *of(B.T), out, ld, scratch), A @ B)


@pytest.mark.parametrize("dtype", TYPES)
def test_products_are_scipys_where_numpys_cannot_be_called(dtype, monkeypatch):
    dtype = np.dtype(dtype)
    numpys = products.gemm_address(dtype)
    monkeypatch.setattr(products, "gemm_of_numpy", lambda _: None)
    scipys = products.gemm_address(dtype)
    if numpys == scipys:
        pytest.skip("NumPy has another BLAS than OpenBLAS")
    rng = np.random.default_rng(0)
    n, k, m = 12, 500, 600  # too large for tiles
    A, B, out = (rng.standard_normal(shape).astype(dtype) for shape in ((n, k), (k, m), (n, m)))
    product = from_python(products.product)
    for multiply in (numpys, scipys):
        out[...] = np.nan
        product(multiply, False, n, k, m, A.reshape(-1), k, B.reshape(-1), m, out.reshape(-1), m, out[0], A[0])
        np.testing.assert_allclose(out, A @ B, rtol=0, atol=k * 20 * np.finfo(dtype).eps)


@pytest.mark.skipif(not jit._X86, reason="numbers below the normal ones become 0 on x86 alone")
@pytest.mark.parametrize("threads", [1, 2])
def test_numbers_below_the_normal_ones_become_zero_in_a_chunk_and_nowhere_else(threads, monkeypatch):
    """A velocity without gradients halves at each step: kept as it is, it would slow each of them."""
    monkeypatch.setattr(compiled_engine, "usable_threads", lambda: threads)
    monkeypatch.setattr(compiled_engine, "WORTH_WAKING", 0)
    tiny, zero = np.float32(np.finfo(np.float32).tiny), np.float32(0)
    D, H, C, B = 64, 100, 10, 32  # two shards
    state = TrainingState(
        flat_copy(init_params(D, H, C, rng=np.random.default_rng(0))), [flat_zeros(D, H, C, np.float32)]
    )
    velocity = state.slots[0].params.W1
    velocity[:] = 2.5 * tiny
    engine = make_engine("numba", state, SolverSettings(optimizer="momentum", momentum=0.5, reg=0), B)
    rows = np.zeros((2 * B, D), np.float32), np.zeros(2 * B, np.intp)
    engine.run(*rows, None, np.full(1, 0.1))
    np.testing.assert_array_equal(velocity, 1.25 * tiny)
    engine.run(*rows, None, np.full(2, 0.1))
    np.testing.assert_array_equal(velocity, zero)
    assert tiny / np.float32(2) > zero
    assert (engine._pool is not None) == (threads > 1)
    if engine._pool:
        assert engine._pool.submit(lambda: tiny / np.float32(2)).result() > zero


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam", "adamw"])
def test_an_epsilon_too_small_for_a_step_still_keeps_0_from_being_divided_by_0(optimizer):
    D, H, C, B = 4, 5, 3, 2
    slots = [flat_zeros(D, H, C, np.float32) for _ in range(OPTIMIZERS[optimizer].n_slots)]
    state = TrainingState(flat_copy(init_params(D, H, C, rng=np.random.default_rng(0))), slots)
    before = state.flat.params.W1.copy()
    engine = make_engine("numba", state, SolverSettings(optimizer=optimizer, epsilon=1e-40, reg=0), B)
    engine.run(np.zeros((B, D), np.float32), np.zeros(B, np.intp), None, np.full(1, 0.1))
    np.testing.assert_array_equal(state.flat.params.W1, before)


@pytest.mark.parametrize(("dtype", "lowest"), [(np.float32, -87.0), (np.float64, -708.0)])
def test_the_exponential_is_right_to_two_units_in_the_last_place(dtype, lowest):
    @numba.njit
    def exponentials(x, out):
        for i in range(x.size):
            out[i] = exp_of_nonpositive(x[i])

    x = np.concatenate([np.linspace(lowest, 0, 50_001), -np.logspace(-12, 0, 1000), [0.0]]).astype(dtype)
    out = np.empty_like(x)
    exponentials(x, out)
    exact = np.exp(x.astype(np.longdouble))
    assert np.abs(out / exact - 1).max() < 2 * np.finfo(dtype).eps
    assert out[-1] == 1

    special = np.array([np.nan, -np.inf, -1e9], dtype)
    out = np.empty_like(special)
    exponentials(special, out)
    assert np.isnan(out[0])
    assert (out[1:] < np.exp(lowest * 0.99)).all()


def test_the_logarithm_is_right_to_two_units_in_the_last_place():
    @numba.njit
    def logarithms(x, out):
        for i in range(x.size):
            out[i] = log_of_at_least_one(x[i])

    for dtype in TYPES:
        largest = np.log10(np.finfo(dtype).max) - 0.1
        points = [np.linspace(1, 3, 50_001), np.logspace(0, largest, 20_001), 1 + np.logspace(-16, 0, 1000)]
        x = np.concatenate([*points, [np.inf, np.nan]]).astype(dtype)
        out = np.empty_like(x)
        logarithms(x, out)
        exact = np.log(x[:-2].astype(np.longdouble))
        assert (np.abs(out[:-2] - exact) <= 2 * np.finfo(dtype).eps * exact).all()
        np.testing.assert_array_equal(out[-2:], [np.inf, np.nan])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e30])
def test_an_unbounded_value_is_found_anywhere(value):
    bounded, bias_relu = from_python(layers.bounded), from_python(layers.bias_relu)
    for place in range(0, 77, 19):
        Z = np.zeros(77, np.float32)
        assert bounded(Z)
        assert bias_relu(Z.copy(), np.zeros(11, np.float32))
        Z[place] = value
        assert not bounded(Z)
        assert not bias_relu(Z.copy(), np.zeros(11, np.float32))


def test_relu_passes_no_gradient_at_zero_and_keeps_a_nan():
    Z = np.array([-1.0, 0.0, 2.0, np.nan])
    from_python(layers.bias_relu)(Z, np.zeros(4))
    np.testing.assert_array_equal(Z, [0.0, 0.0, 2.0, np.nan])
    dZ = np.ones(4)
    from_python(layers.relu_gradient)(dZ, np.array([0.0, 0.0, 2.0, 1.0]))
    np.testing.assert_array_equal(dZ, [0, 0, 1, 1])


def test_the_compiled_optimisers_have_codes_and_the_others_are_refused(monkeypatch):
    assert updates.CODES.keys() == {name for name, row in OPTIMIZERS.items() if row.compiled}
    monkeypatch.setitem(OPTIMIZERS, "adam", OPTIMIZERS["adam"]._replace(compiled=False))
    with pytest.raises(ValueError, match="engine: expected numpy, as optimizer adam has no compiled form; got numba"):
        SolverSettings(optimizer="adam", engine="numba")
    with pytest.raises(ConfigError, match=r"solver\.engine: expected numpy, got numba, which has no optimizer: adam"):
        config_from_dict({"data": {"train": {"generator": "toy"}}, "solver": {"optimizer": "adam", "engine": "numba"}})


def test_code_loaded_from_disk_gives_the_bits_of_code_fresh_from_the_compiler_which_is_announced(tmp_path):
    program = """
import hashlib
import numpy as np
from twolayer.network.settings import SolverSettings
from twolayer.solver.engine import TrainingState
from twolayer.solver.compiled.engine import NumbaEngine
from twolayer.network.model import flat_copy, init_params
rng = np.random.default_rng(0)
state = TrainingState(flat_copy(init_params(64, 32, 10, rng=rng)), [])
engine = NumbaEngine(state, SolverSettings(reg=1e-3), 64)
notice = engine.notice
engine.run(rng.standard_normal((640, 64), np.float32), rng.integers(0, 10, 640), None, np.full(10, .1))
from twolayer.solver.compiled.steps import run_steps
print(hashlib.sha256(state.flat.vector).hexdigest(), sum(run_steps.stats.cache_hits.values()))
print(notice)
print(engine.notice)
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    outputs = [
        subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True,
                       cwd=Path(__file__).parents[1]).stdout.splitlines()
        for _ in range(2)
    ]  # fmt: skip
    (fresh, hits), (loaded, later_hits) = (output[0].split() for output in outputs)
    assert (hits, later_hits) == ("0", "1")
    assert fresh == loaded
    (notice, after), later = outputs[0][1:], outputs[1][1:]
    assert notice.startswith("engine: numba: compiling the training step for float32, about ")
    assert notice.endswith(" s, once: later runs load it from disk")
    assert (after, *later) == ("None", "None", "None")


def test_without_a_folder_to_keep_the_code_in_the_notice_says_so(monkeypatch):
    monkeypatch.setattr(jit, "_can_be_written", lambda folder: False)
    function = jit.compiled_and_kept(one_more)
    assert jit.kept_form(function, (1,)) == "to compile"
    assert function(1) == 2
    assert jit.kept_form(function, (1,)) == "ready"
    monkeypatch.setattr(compiled_engine, "kept_form", lambda *_: "to compile")
    made = compiled_engine.NumbaEngine(TrainingState(flat_zeros(4, 3, 2, np.float32), []), SolverSettings(), 5)
    assert made.notice.endswith("in every run: no folder to keep it in can be written; set NUMBA_CACHE_DIR to one")


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("NUMBA_DISABLE_JIT", "1", "NUMBA_DISABLE_JIT=1 forbids compiling; unset it, or use engine: numpy"),
        ("NUMBA_NUM_THREADS", "0", "an environment variable NUMBA_... has a wrong value: "),
    ],
)
def test_variables_under_which_numba_cannot_compile_end_in_a_message(variable, value, words, tmp_path):
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "twolayer", "train", str(root / "configs/toy.yaml"), "solver.engine=numba",
               "--run-dir", str(tmp_path / "run")]  # fmt: skip
    done = subprocess.run(command, env={**os.environ, variable: value}, capture_output=True, text=True, cwd=root)
    assert done.returncode == 2
    assert f"engine: numba: {words}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def one_more(x):
    return x + 1


def test_machine_code_is_kept_in_a_folder_of_its_sources_where_one_can_be_written(tmp_path, monkeypatch):
    package, user, blocked = tmp_path / "package", tmp_path / "user", tmp_path / "a file"
    package.mkdir()
    (package / "steps.py").write_text("1")
    (package / "__pycache__").write_text("a file, as good as a folder of someone else's")
    blocked.write_text("")
    monkeypatch.setattr(jit, "__file__", str(package / "jit.py"))
    monkeypatch.setattr(jit, "AppDirs", lambda *_, **__: SimpleNamespace(user_cache_dir=user))
    monkeypatch.setattr(jit.numba.config, "CACHE_DIR", str(blocked))
    for sources in ("1", "2"):
        (package / "steps.py").write_text(sources)
        assert jit.compiled_and_kept(one_more)(1) == 2
    assert len(list(user.iterdir())) == 2
    assert all(list(folder.rglob("*.nbc")) for folder in user.iterdir())
    monkeypatch.setattr(jit, "AppDirs", lambda *_, **__: SimpleNamespace(user_cache_dir=blocked))
    assert jit.compiled_and_kept(one_more)(1) == 2
    assert str(blocked) == jit.numba.config.CACHE_DIR


@contextlib.contextmanager
def without_roots_rights():
    """As the user nobody, if the tests run as root, whom no permission stops."""
    root = hasattr(os, "getresuid") and os.getuid() == 0
    if root:
        os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        if root:
            os.setresuid(0, 0, 0)


@pytest.mark.skipif(os.name != "posix", reason="there are no permissions here")
def test_folders_of_another_user_that_cannot_be_read_or_written_are_passed_over(monkeypatch):
    with tempfile.TemporaryDirectory() as name:
        shared, package, user = (Path(name, each) for each in ("shared", "package", "user"))
        for folder in (shared, package, user):
            folder.mkdir()
        for folder in (Path(name), user):
            folder.chmod(0o777)
        (package / "steps.py").write_text("1")
        monkeypatch.setattr(jit, "__file__", str(package / "jit.py"))
        monkeypatch.setattr(jit, "AppDirs", lambda *_, **__: SimpleNamespace(user_cache_dir=user))
        monkeypatch.setattr(jit.numba.config, "CACHE_DIR", str(Path(name, "imports")))
        for _ in range(2):  # Numba imports its parts, which the other user may not read
            assert jit.compiled_and_kept(one_more)(1) == 2
        monkeypatch.setattr(jit.numba.config, "CACHE_DIR", str(shared))
        for mode in (0o500, 0o000):  # read-only, and not even readable
            shared.chmod(mode)
            package.chmod(0o555)
            with without_roots_rights():
                assert jit.compiled_and_kept(one_more)(1) == 2
        (kept,) = user.iterdir()
        assert list(kept.rglob("*.nbc"))
        for file in kept.rglob("*.nbi"):
            file.chmod(0o000)
        with without_roots_rights():
            function = jit.compiled_and_kept(one_more)
            assert jit.kept_form(function, (1,)) == "to compile"
            assert function(1) == 2
        for folder in (shared, package):
            folder.chmod(0o700)


def test_without_numba_one_line_names_the_extra():
    program = """
import sys
sys.modules["numba"] = None
from twolayer.utils.errors import MissingExtraError
try:
    from twolayer.solver.compiled.engine import NumbaEngine
except MissingExtraError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
    )
    assert done.stdout.strip() == (
        "engine: numba needs the package 'numba', which is not installed: pip install '.[numba]' in a clone of twolayer"
    )
