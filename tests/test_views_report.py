"""The report page: complete, self-contained, safe against untrusted text, small, with and without Bokeh."""

import builtins
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from view_runs import config_with, made_history, made_run

from twolayer.runs.checkpoint import write_arrays
from twolayer.views import report as report_page
from twolayer.views.diagnosis import diagnose
from twolayer.views.evaluation import RawRows, confusion_matrix, reliability
from twolayer.views.report import class_table, confusion_table, write_report
from twolayer.views.run_data import read_run

EVIL = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "$$x$$ \\(y\\)",
    "plain & \"quoted\" 'so'",
]


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and the text outside scripts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self._in = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._in = tag

    def handle_endtag(self, tag):
        self._in = ""

    def handle_data(self, data):
        if self._in not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def predictions(n=200, C=4, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, C, n)
    S = rng.standard_normal((n, C)) + 3 * np.eye(C)[y]
    P = (np.exp(S) / np.exp(S).sum(axis=1, keepdims=True)).astype(np.float32)
    found = {}
    for part in ("validation", "test"):
        found |= {f"{part}_y": y, f"{part}_proba": P, f"{part}_rows": np.arange(n)}
    return found


def with_rows(monkeypatch, X, names=None):
    """Gives the predicted rows these values, as the data files would."""
    X = np.asarray(X, object if names else None)
    preparation = SimpleNamespace(form=None, feature_names=names or range(X.shape[1]), image_shape=None)
    monkeypatch.setattr(
        report_page, "raw_rows", lambda run, part, chosen, numbers: RawRows(X[chosen], chosen, chosen, preparation)
    )


def report(tmp_path, runs, **options):
    note = write_report(runs, tmp_path / "report.html", **options)
    return (tmp_path / "report.html").read_text("utf-8"), note


def one_run(tmp_path, name="r", config=None, **options):
    options = {"predictions": predictions(), "classes": EVIL} | options
    return read_run(made_run(tmp_path / name, **options), config or config_with())


@pytest.fixture
def no_bokeh(monkeypatch):
    real = builtins.__import__
    import importlib

    def refuse(name, *args, **options):
        if name.split(".")[0] == "bokeh":
            raise ModuleNotFoundError("No module named 'bokeh'", name="bokeh")
        return real(name, *args, **options)

    real_module = importlib.import_module
    monkeypatch.setattr(
        importlib, "import_module", lambda name, *a: refuse(name) if name == "bokeh" else real_module(name, *a)
    )
    monkeypatch.setattr(builtins, "__import__", refuse)


def test_without_bokeh_the_page_has_a_picture_and_a_note_names_the_extra(tmp_path, no_bokeh):
    text, note = report(tmp_path, [one_run(tmp_path)])
    assert "pip install '.[report]' in a clone" in note
    images = [attributes["src"] for tag, attributes in Page(text).elements if tag == "img"]
    assert images[0].startswith("data:image/png;base64,")
    assert "<script" not in text


def test_with_bokeh_the_page_loads_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("bokeh")
    text, note = report(tmp_path, [one_run(tmp_path)])
    assert note == ""
    for tag, attributes in Page(text).elements:
        for name in ("src", "href"):
            address = attributes.get(name)
            assert address is None or address.startswith("data:"), (tag, address)
    assert not re.search(r"@import|url\(\s*['\"]?http", text)


@pytest.mark.parametrize("bokeh", [True, False])
def test_untrusted_labels_and_values_stay_text(tmp_path, bokeh, request, monkeypatch):
    if bokeh:
        pytest.importorskip("bokeh")
    else:
        request.getfixturevalue("no_bokeh")
    config = config_with(data__label=EVIL[0], data__train=EVIL[1])
    with_rows(monkeypatch, [EVIL] * 200, EVIL)
    runs = [
        one_run(tmp_path, "a", config, environment={EVIL[0]: EVIL[1]}),
        one_run(tmp_path, "b", config_with(data__label=EVIL[2], solver__optimizer=EVIL[0])),
    ]
    text, _ = report(tmp_path, runs)
    page = Page(text)
    assert all("onerror" not in attributes for _, attributes in page.elements)
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert EVIL[3] in page.text


def test_the_page_holds_what_it_promises(tmp_path, monkeypatch):
    with_rows(monkeypatch, np.random.default_rng(0).random((200, 4)))
    run = one_run(tmp_path, classes=["cat", "dog", "cow", "hen"], environment={"numpy": "2.4", "blas": {"threads": 2}})
    text, _ = report(tmp_path, [run], image_shape=(2, 2))
    page = Page(text)
    y, P = run.predictions["test_y"], run.predictions["test_proba"]
    worst = np.where(P.argmax(axis=1) == y, 0, P.max(axis=1)).argmax()
    for expected in (
        "Confusion matrix, 200 test rows",
        f"Expected calibration error: {reliability(y, P)[3]:.4f}",
        f"row {worst}: {run.classes[y[worst]]} , predicted {run.classes[P[worst].argmax()]} ({P[worst].max():.1%})",
        "First-layer weights",
        "blas.threads 2",
        "solver.learning_rate 0.1",
        "No problem found",
        "precision recall F1 rows",
        "0.9500",
    ):
        assert expected in page.text, expected


def test_a_run_that_has_not_ended_is_judged_by_the_classes_of_its_model(tmp_path):
    loss = np.full(20, 1.5)  # more than guessing among 4 classes, less than among 10
    history = made_history(20, train_loss=loss, update_ratio_W2=np.full(20, 0.05))
    for n_classes, expected in ((4, "rate too high"), (10, "underfitting")):
        run = read_run(
            made_run(tmp_path / str(n_classes), history=history, classes=range(n_classes), ended=False), config_with()
        )
        assert diagnose(run)[0].name == expected


@pytest.mark.parametrize("scale", ["linear", "log", None])
@pytest.mark.parametrize("loss", [1.7e308, 5e-324, np.nan])
def test_losses_at_the_ends_of_the_numbers_make_a_page(tmp_path, scale, loss):
    pytest.importorskip("bokeh")
    history = made_history(3, train_loss=[loss] * 3, val_loss=[np.nan] * 3)
    assert "</html>" in report(tmp_path, [one_run(tmp_path, history=history)], scale=scale)[0]


def test_verdicts_are_on_the_page_with_evidence_and_remedy(tmp_path):
    run = one_run(tmp_path, history=made_history(20, dead_share=np.full(20, 0.75)))
    (verdict,) = diagnose(run)
    text = Page(report(tmp_path, [run])[0]).text
    assert verdict.evidence in text
    assert verdict.remedy in text


def test_the_confusion_matrix_and_class_table_agree_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    found = predictions(300, C=5)
    y, predicted = found["test_y"], found["test_proba"].argmax(axis=1)
    counts = confusion_matrix(y, predicted, 5)
    np.testing.assert_array_equal(counts, metrics.confusion_matrix(y, predicted))
    text = Page(class_table(counts, list("vwxyz"))).text
    for label, *figures in zip("vwxyz", *metrics.precision_recall_fscore_support(y, predicted), strict=True):
        assert f"{label} {figures[0]:.3f} {figures[1]:.3f} {figures[2]:.3f} {figures[3]}" in text


def test_many_classes_are_listed_by_their_largest_confusions():
    counts = np.diag(np.full(60, 9))
    counts[3, 5], counts[7, 2] = 8, 4
    text = Page(confusion_table(counts, [f"c{k}" for k in range(60)])).text
    assert "c3 as c5 8 c7 as c2 4" in text
    assert len(confusion_table(counts, range(60))) < 5000


def test_differing_keys_are_in_the_table_of_runs_and_shared_ones_are_folded(tmp_path):
    runs = [one_run(tmp_path, f"r{k}", config_with(solver__reg=0.5 * k)) for k in range(2)]
    text, _ = report(tmp_path, runs)
    assert re.findall(r"<th>(.*?)</th>", text)[:3] == ["run", "reg", "epochs"]
    assert "<td>solver.reg</td>" not in text
    assert "<td>solver.learning_rate</td>" in text


def test_the_name_of_a_run_is_the_title_once_and_several_runs_have_one_each(tmp_path, monkeypatch):
    with_rows(monkeypatch, np.zeros((200, 2)))
    text, _ = report(tmp_path, [one_run(tmp_path, "my-run")])
    assert re.findall(r"<h1>(.*?)</h1>", text) == ["my-run"]
    assert text.count("my-run") == 3  # the title of the page, its heading, the table
    runs = [one_run(tmp_path, f"r{k}", config_with(solver__reg=0.5 * k)) for k in range(2)]
    assert re.findall(r"<details[^>]*class=run><summary>(.*?)</summary>", report(tmp_path, runs)[0]) == ["r0", "r1"]


def test_mistakes_without_a_picture_are_one_table_with_the_first_columns(tmp_path, monkeypatch):
    with_rows(monkeypatch, [[f"{j}-{k}" for j in range(30)] for k in range(200)], [f"column{j}" for j in range(30)])
    run = one_run(tmp_path)
    text, _ = report(tmp_path, [run])
    (table,) = re.findall(r'<table class="cells">(.*?)</table>', text, re.S)
    assert re.findall(r"<th>(.*?)</th>", table)[:6] == ["row", "class", "predicted", "confidence", "column0", "column1"]
    y, P = run.predictions["test_y"], run.predictions["test_proba"]
    worst = np.where(P.argmax(axis=1) == y, 0, P.max(axis=1)).argmax()
    assert re.findall(r"<td>(.*?)</td>", table)[:5:4] == [str(worst), f"0-{worst}"]
    assert "The first 12 of 30 columns" in text
    assert "column12" not in table


@pytest.mark.parametrize(("labels", "tall"), [("ABCDEFGHIJ", False), ([f"a long name {k}" for k in range(26)], True)])
def test_long_class_names_are_upright_above_a_wide_matrix(labels, tall):
    table = confusion_table(np.eye(len(labels), dtype=int), labels)
    assert ('class="matrix tall"' in table) is tall


def test_test_rows_are_judged_before_validation_rows(tmp_path):
    run = one_run(tmp_path)
    for left, said in (
        ("test_y", "200 test rows"),
        ("validation_y", "200 validation rows"),
        (None, "kept no predictions"),
    ):
        text = Page(report(tmp_path, [run])[0]).text
        assert said in text
        assert ("Confusion matrix" in text) is (left is not None)
        run.predictions.pop(left, None)


def test_twenty_runs_of_ten_thousand_epochs_make_a_page_under_three_megabytes(tmp_path, monkeypatch):
    pytest.importorskip("bokeh")
    rng = np.random.default_rng(0)
    with_rows(monkeypatch, rng.integers(0, 256, (2000, 784)))
    base = one_run(tmp_path, predictions=predictions(2000, C=26), classes=list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    model = {"W1": rng.standard_normal((784, 64)), "b1": np.zeros(64), "W2": np.zeros((64, 26)), "b2": np.zeros(26)}
    write_arrays(base.path / "best.npz", model, {"kind": "model"})
    runs = [
        type(base)(
            base.path,
            made_history(10_000, noise=0.05, seed=k),
            config_with(model__hidden=8 * k),
            {},
            {},
            base.predictions,
            base.classes,
        )
        for k in range(20)
    ]
    text, _ = report(tmp_path, runs, image_shape=(28, 28))
    assert text.count("<figure>") == 20 * 12
    assert len(text.encode()) < 3_000_000
