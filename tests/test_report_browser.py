"""The report in a real browser with the network off: no console error, curves visible, a legend click hides a curve."""

import io

import numpy as np
import pytest
from browser import BROWSER, DRIVER, FIND, new_browser
from PIL import Image
from view_runs import config_with, made_history, made_run

from twolayer.views.report import write_report
from twolayer.views.run_data import read_run
from twolayer.views.style import OKABE_ITO

pytest.importorskip("bokeh")
webdriver = pytest.importorskip("selenium.webdriver")

pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs Chromium and its driver")

LABELS = ("hidden=8", "hidden=64")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    driver = new_browser(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, tmp_path):
    from selenium.webdriver.support.ui import WebDriverWait

    runs = []
    for k, hidden in enumerate((8, 64)):
        y = np.arange(40) % 3
        predictions = {"test_y": y, "test_proba": np.eye(3, dtype=np.float32)[y], "test_rows": y}
        history = made_history(50, val_loss=np.linspace(2, 1 - 0.5 * k, 50), noise=0.02, seed=k)
        classes = ["a", "</script><script>alert(1)</script>", "$$c$$"]
        folder = made_run(tmp_path / f"run{k}", history=history, predictions=predictions, classes=classes)
        runs.append(read_run(folder, config_with(model__hidden=hidden)))
    write_report(runs, tmp_path / "report.html")
    browser.get((tmp_path / "report.html").as_uri())
    WebDriverWait(browser, 20).until(lambda driver: driver.execute_script(FIND, LABELS[0]) is not None)
    return browser


def pixels_of(driver, color):
    """How many pixels of the panels, above the legend, have this colour."""
    image = np.asarray(Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")).astype(int)
    legend_top = int(driver.execute_script(FIND, LABELS[0]).rect["y"])
    expected = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)])
    return int((np.abs(image[: legend_top - 5] - expected).max(axis=2) < 25).sum())


def click_legend(driver, label):
    """A mouse click on an entry of the legend, which is a new element after each redraw."""
    entry = driver.execute_script(FIND, label)
    webdriver.ActionChains(driver).move_to_element(entry).click().perform()


def settled(driver, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(driver, 10).until(lambda _: condition())


def test_the_page_opens_offline_without_a_console_error(page):
    messages = page.get_log("browser")
    assert [each for each in messages if each["level"] in ("SEVERE", "WARNING")] == []
    assert "2 runs" in page.title
    assert (
        page.execute_script(
            "return performance.getEntriesByType('resource').filter(r => !r.name.startsWith('data:')).length"
        )
        == 0
    )


def test_both_curves_are_visible(page):
    for color in OKABE_ITO[:2]:
        settled(page, lambda color=color: pixels_of(page, color) > 200)


def test_a_click_in_the_legend_hides_a_run_in_both_panels_and_a_second_shows_it_again(page):
    hidden, kept = OKABE_ITO[1], OKABE_ITO[0]
    settled(page, lambda: pixels_of(page, hidden) > 200)
    before = pixels_of(page, kept)
    click_legend(page, LABELS[1])
    settled(page, lambda: pixels_of(page, hidden) == 0)
    assert pixels_of(page, kept) >= before
    click_legend(page, LABELS[1])
    settled(page, lambda: pixels_of(page, hidden) > 200)
    assert [each for each in page.get_log("browser") if each["level"] == "SEVERE"] == []


def test_untrusted_words_are_shown_as_text_and_not_run(page):
    from selenium.common.exceptions import NoAlertPresentException

    with pytest.raises(NoAlertPresentException):
        page.switch_to.alert  # noqa: B018
    assert "</script><script>alert(1)</script>" in page.find_element("tag name", "body").text
