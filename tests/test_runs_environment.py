"""The environment record says what the numbers depend on, and only differences that matter are reported."""

from __future__ import annotations

import copy
import json
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import twolayer
from twolayer.runs.folder import describe_environment, differences_that_change_bits
from twolayer.utils import blas


def test_the_record_is_plain_json_and_names_no_host_and_no_person():
    environment = describe_environment({"data/a.csv": "ab" * 32})
    text = json.dumps(environment)
    assert json.loads(text) == environment
    assert environment["numpy"] == np.__version__
    assert environment["twolayer"] == twolayer.__version__
    assert environment["python"] == platform.python_version()
    assert environment["data"] == {"data/a.csv": "ab" * 32}
    assert socket.gethostname() not in text.replace(platform.release(), "")


def test_the_threads_of_blas_are_those_that_it_has_now():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    folder = os.path.dirname(os.path.dirname(np.__file__))
    pools = [pool for pool in threadpoolctl.threadpool_info() if pool["filepath"].startswith(folder + os.sep + "numpy")]
    if not pools or pools[0]["internal_api"] != "openblas":
        pytest.skip("NumPy's own OpenBLAS is not there")
    assert blas.blas_facts()["threads"] == pools[0]["num_threads"]
    assert blas.blas_facts()["kernels"] == pools[0]["architecture"]
    with threadpoolctl.threadpool_limits(1):
        assert blas.blas_facts()["threads"] == 1


def test_limits_of_threads_hold_while_any_is_entered_and_the_smallest_counts(monkeypatch):
    threads = {"numpy": 4, "scipy": 6}
    libraries = {
        name: SimpleNamespace(
            get_threads=lambda name=name: threads[name], set_threads=lambda n, name=name: threads.update({name: n})
        )
        for name in threads
    }
    monkeypatch.setattr(blas, "_openblas_of", libraries.get)
    monkeypatch.setattr(blas, "_cores_of_container", lambda: 5)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(6), raising=False)
    assert blas.usable_threads() == 4
    first, second, none = blas.at_most_threads(1), blas.at_most_threads(3), blas.at_most_threads(None)
    seen = []
    # As two threads might: the one that came first leaves first.
    for change in (none.__enter__, second.__enter__, first.__enter__):
        change()
        seen.append(dict(threads))
    for leave in (second, first, none):
        leave.__exit__(None, None, None)
        seen.append(dict(threads))
    assert [each["numpy"] for each in seen] == [4, 3, 1, 1, 4, 4]
    assert [each["scipy"] for each in seen] == [6, 3, 1, 1, 6, 6]
    with blas.at_most_threads(1):
        assert threads["numpy"] == 1
        assert blas.usable_threads() == 4, "a limit entered meanwhile, perhaps by another thread, changes nothing"
    del libraries["numpy"]
    assert blas.usable_threads() == 1


def test_a_limit_is_lifted_also_if_ctrl_c_came_while_it_was_entered(monkeypatch):
    threads = [4]

    def interrupted(n):
        threads[0] = n
        if n == 1:
            raise KeyboardInterrupt

    library = SimpleNamespace(get_threads=lambda: threads[0], set_threads=interrupted)
    monkeypatch.setattr(blas, "_openblas_of", lambda package: library)
    with pytest.raises(KeyboardInterrupt), blas.at_most_threads(1):
        pass
    assert threads[0] == 4
    with blas.at_most_threads(3):
        assert threads[0] == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")
def test_a_forked_process_is_not_held_by_the_limits_of_threads_it_does_not_have():
    program = """
import os, threading
import numpy as np
from twolayer.utils.blas import at_most_threads, usable_threads, blas_facts
inside, leave = threading.Event(), threading.Event()
def work():
    with at_most_threads(1):
        inside.set()
        leave.wait()
thread = threading.Thread(target=work)
thread.start()
inside.wait()
child = os.fork()
if child == 0:
    with at_most_threads(2):
        print(blas_facts()["threads"], usable_threads(), flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
leave.set()
thread.join()
print(blas_facts()["threads"], usable_threads())
"""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    child, parent = done.stdout.splitlines()
    assert child == parent


@pytest.mark.parametrize(
    ("quotas", "cores"),
    [
        ({"": "max 100000\n", "a": "max 100000"}, sys.maxsize),
        ({"": "250000 100000\n"}, 2),
        ({"": "400000 100000", "a": "300000 100000", "a/b": "max 100000"}, 3),
        ({"a/b": "50000 100000"}, 1),
        ({"a": "not numbers", "elsewhere": "100000 100000"}, sys.maxsize),
        ({"cpu": "-1"}, sys.maxsize),
        ({"cpu/old": "150000"}, 1),
        ({"cpu": "-1", "cpu/old": "200000"}, 2),
        ({}, sys.maxsize),
    ],
)
def test_a_containers_share_of_the_processor_is_read(monkeypatch, quotas, cores):
    root = Path("/sys/fs/cgroup")
    files = {str(root / name / "cpu.max"): text for name, text in quotas.items() if "cpu" not in name}
    for name, text in quotas.items():
        if "cpu" in name:
            files |= {str(root / name / "cpu.cfs_quota_us"): text, str(root / name / "cpu.cfs_period_us"): "100000"}
    files["/proc/self/cgroup"] = "3:cpu:/old\n0::/a/b\n"

    def read_text(path, **_):
        if str(path) not in files:
            raise FileNotFoundError(path)
        return files[str(path)]

    monkeypatch.setattr(Path, "read_text", read_text)
    assert blas._cores_of_container.__wrapped__() == cores


def test_threads_follow_the_processors_that_the_process_may_run_on(monkeypatch):
    monkeypatch.setattr(blas, "_unlimited_threads", lambda _: 8)
    monkeypatch.setattr(blas, "_cores_of_container", lambda: 8)
    for allowed in ({0}, {0, 3, 5}):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, allowed=allowed: allowed, raising=False)
        assert blas.usable_threads() == (len(allowed) if blas._openblas_of("numpy") else 1)


def choices(threads, seconds_on_all, seconds_on_one, chunks):
    """The choices (all threads?) for a number of chunks that take this long."""
    chosen = []
    for _ in range(chunks):
        chosen.append(threads._all)
        threads.measured(threads._all, seconds_on_all if threads._all else seconds_on_one)
    return chosen


def test_the_faster_number_of_threads_is_found_and_found_again_when_the_load_changes():
    threads = blas.AdaptiveThreads()
    assert choices(threads, 0.6, 1.0, 50) == [True, False] + 48 * [True]
    busy = choices(threads, 5.0, 1.5, 100)
    assert busy[:2] == [True, False]
    assert sum(busy) <= 1 + 100 // threads.RETRY + 1
    quiet = choices(threads, 0.6, 1.0, 50)
    assert quiet[threads.RETRY + 1 :] == (50 - threads.RETRY - 1) * [True]


def test_where_one_thread_is_as_fast_others_are_tried_rarely():
    threads = blas.AdaptiveThreads()
    assert sum(choices(threads, 1.0, 1.0, 170)) == 1 + 168 // (threads.RETRY + 1)


@pytest.mark.parametrize(
    ("name", "variables", "threads"),
    [
        ("scipy-openblas", {"OPENBLAS_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, 3),
        ("openblas64", {"OMP_NUM_THREADS": "5"}, 5),
        ("mkl-sdl", {"MKL_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "7"}, 2),
        ("accelerate", {"VECLIB_MAXIMUM_THREADS": "4"}, 4),
        ("unknown", {"OMP_NUM_THREADS": "5"}, None),
    ],
)
def test_a_blas_that_cannot_be_asked_is_judged_by_its_variables(monkeypatch, name, variables, threads):
    for variable in sum(blas._VARIABLES.values(), ()):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(blas, "_openblas_of", lambda package: None)
    monkeypatch.setattr(np, "show_config", lambda mode: {"Build Dependencies": {"blas": {"name": name}}})
    assert blas.blas_facts() == {"name": name, "version": None, "kernels": None, "threads": threads}


def test_thread_variables_are_recorded_as_they_are(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    variables = describe_environment()["thread_variables"]
    assert variables["OMP_NUM_THREADS"] == "2"
    assert "MKL_NUM_THREADS" not in variables


def test_an_environment_does_not_differ_from_itself_read_back_from_json():
    environment = describe_environment({"a.csv": "1"})
    assert differences_that_change_bits(json.loads(json.dumps(environment)), environment) == []


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        (("numpy",), "1.0.0", "numpy: 1.0.0 then, "),
        (("twolayer",), "0.0.1", "twolayer: 0.0.1 then, "),
        (("blas", "threads"), 77, "BLAS threads: 77 then, "),
        (("blas", "name"), "other", "BLAS: other then, "),
        (("machine", "processor"), "Abacus", "processor: Abacus then, "),
        (("machine", "simd"), ["A", "B"], "processor features: A B then, "),
        (("machine", "libc"), "\x1b[2J\n" + "9" * 1000, "C library: \\x1b[2J\\n" + "9" * 48 + "... then, "),
        (("data",), {"a.csv": "2"}, "data: a.csv has changed"),
        (("data",), {"b.csv": "2"}, "data: other files than before"),
        (("data",), {"b.csv": "1"}, None),
        (("python",), "3.0", None),
        (("machine", "release"), "other", None),
        (("thread_variables",), {"OMP_NUM_THREADS": "9"}, None),
        (("numba",), "0.1", None),
        (("blas",), "not even a mapping", None),
        (("data",), None, None),
    ],
)
def test_what_changes_bits_is_reported_and_nothing_else(keys, value, words):
    now = describe_environment({"a.csv": "1"}) | {"numba": None}
    now["machine"] |= {"processor": "Slide rule", "simd": ["A"], "libc": "glibc 2.0"}
    then = copy.deepcopy(now)
    place = then
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    found = differences_that_change_bits(then, now)
    if words is None:
        assert found == []
    else:
        (phrase,) = found
        assert phrase.startswith(words)


def test_another_numba_is_reported_where_both_are_known():
    then = {"numba": "0.60.0"}
    assert differences_that_change_bits(then, {"numba": "0.61.0"}) == ["numba: 0.60.0 then, 0.61.0 now"]


def test_threads_matter_to_the_numpy_engine_and_not_to_the_compiled_one():
    for engine, expected in (("numpy", ["BLAS threads: 2 then, 77 now"]), ("numba", [])):
        then = describe_environment(engine=engine)
        then["blas"]["threads"] = 2
        now = copy.deepcopy(then)
        now["blas"]["threads"] = 77
        assert differences_that_change_bits(then, now) == expected


def test_a_compiled_run_of_0_1_summed_in_another_order():
    now = describe_environment(engine="numba")
    then = {name: value for name, value in now.items() if name not in ("engine", "compiled_sums")}
    assert differences_that_change_bits(then | {"numba_threads": 2}, now) == [
        "order of sums of the compiled engine: 1 then, 2 now"
    ]
    assert differences_that_change_bits(then, describe_environment()) == []  # the NumPy engine


def make_git(folder, head, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {"HEAD": head, **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
