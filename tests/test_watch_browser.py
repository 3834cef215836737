"""`watch` in a real browser: runs appear, grow, are overlaid and end while the page stays open."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import closing
from urllib.parse import urlparse

import numpy as np
import pytest
from browser import BROWSER, DRIVER, FIND, new_browser
from view_runs import made_history, made_live_run

pytest.importorskip("bokeh")
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs Chromium and its driver")

EVIL = "<img src=x onerror=alert(1)>$$x$$"
CONFIG = """
data: {{train: {{generator: spiral, rows_per_class: 40}}, validation: 0.25}}
model: {{hidden: {hidden}}}
solver: {{optimizer: adam, learning_rate: 0.003, epochs: {epochs}}}
run: {{checkpoint_seconds: 1}}
"""
# The points of each line: run's name -> epochs of its longest line.
POINTS = """
const found = {};
for (const model of Bokeh.documents[0]?._all_models.values() ?? [])
  if (model.type == 'GlyphRenderer' && model.glyph.type == 'Line' && model.name)
    found[model.name] = Math.max(found[model.name] ?? 0, ...model.data_source.data.x);
return found;
"""
RANGE = """
for (const model of Bokeh.documents[0]._all_models.values())
  if (model.type == 'Figure') { const r = model.x_range; if (arguments.length) { r.start = arguments[0];
    r.end = arguments[1]; r.have_updated_interactively = true; } return [r.start, r.end]; }
"""
BOX = "return arguments[0].closest('.slick-row').querySelector('input')"
ROW = "return arguments[0].closest('.slick-row').textContent"
TEXT = """
function text(root) {
  let all = '';
  for (const each of root.querySelectorAll('*')) {
    if (each.tagName == 'STYLE' || each.tagName == 'SCRIPT') continue;
    for (const node of each.childNodes) if (node.nodeType == 3) all += node.data + ' ';
    if (each.shadowRoot) all += text(each.shadowRoot);
  }
  return all;
}
return text(document);
"""


def start(*arguments):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, "-m", "twolayer", *map(str, arguments)], **pipes)


def end(process):
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture
def training(tmp_path):
    """Starts a training into a folder of runs; what still trains at the end is killed."""
    processes = []

    def begin(name, hidden=8, epochs=100_000):
        config = tmp_path / f"config{len(processes)}.yaml"
        config.write_text(CONFIG.format(hidden=hidden, epochs=epochs))
        processes.append(start("train", config, "--quiet", "--run-dir", tmp_path / "runs" / name))
        return processes[-1]

    yield begin
    for process in processes:
        end(process)


@pytest.fixture
def watch(tmp_path):
    """The server on an empty folder, and its address."""
    (tmp_path / "runs").mkdir()
    process = start("watch", tmp_path / "runs", "--no-open", "--port", 0)
    yield process, process.stdout.readline().strip()
    end(process)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    driver = new_browser(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


def until(browser, condition, seconds=15):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, seconds, poll_frequency=0.1).until(lambda _: condition())


def epochs_of(browser, name):
    return browser.execute_script(POINTS).get(f"{name} (training)", 0)


def text_of(browser):
    return browser.execute_script(TEXT)


def complaints(browser):
    """What the console says since the last call, except Bokeh's two lines at its start."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] != "INFO"]


def requested(browser):
    """Addresses that the browser asked for since the last call."""
    messages = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    sent = [m["params"] for m in messages if m["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated")]
    return [one["request"]["url"] if "request" in one else one["url"] for one in sent]


def test_runs_appear_grow_are_overlaid_and_are_seen_to_be_killed(browser, watch, training, tmp_path):
    server, address = watch
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
    browser.get_log("browser"), requested(browser)
    browser.get(address)
    until(browser, lambda: "No run in" in text_of(browser))

    first = training("first")
    until(browser, lambda: epochs_of(browser, "first") > 5)
    assert "running" in text_of(browser)
    seen = epochs_of(browser, "first")
    until(browser, lambda: epochs_of(browser, "first") > seen)

    browser.execute_script(RANGE, 2.0, 4.0)
    seen = epochs_of(browser, "first")
    until(browser, lambda: epochs_of(browser, "first") > seen)
    assert browser.execute_script(RANGE) == [2.0, 4.0]

    training(EVIL, hidden=16, epochs=40)
    until(browser, lambda: epochs_of(browser, EVIL.translate(str.maketrans("$<>", "\uff04\uff1c\uff1e"))) == 40)
    until(browser, lambda: "finished" in text_of(browser))
    assert epochs_of(browser, "first") > seen
    assert EVIL in text_of(browser)
    assert browser.execute_script("return document.images.length") == 0

    end(first)
    until(browser, lambda: "1 whose process is gone" in text_of(browser))
    until(browser, lambda: "gone" in browser.execute_script(ROW, browser.execute_script(FIND, "first")))
    assert f"twolayer train --resume {tmp_path / 'runs' / 'first'}" in text_of(browser) or "to repeat it" in text_of(
        browser
    )

    assert complaints(browser) == []
    urls = requested(browser)
    assert urls
    assert all(re.match(r"(http|ws)://127\.0\.0\.1:\d+/|data:", url) for url in urls), urls

    server.send_signal(signal.SIGINT)
    assert server.communicate(timeout=10)[0] == ""
    assert server.returncode == 0


def test_a_ticked_row_is_drawn_and_explained(browser, watch, tmp_path):
    from selenium.webdriver import ActionChains

    for k in range(7):  # more than are drawn unasked: the newest is the worst, the two before it have diverged
        history = made_history(30, val_accuracy=np.full(30, 0.9 - 0.1 * k))
        folder = made_live_run(tmp_path / "runs" / f"run{k}", history=history, solver__learning_rate=0.1 + k)
        os.utime(folder / "environment.json", (1e9 + k, 1e9 + k))
        if k in (4, 5):
            (folder / "summary.json").write_text('{"status": "diverged"}')
    browser.get(watch[1])
    complaints(browser)  # the page of the test before lost its server
    until(browser, lambda: epochs_of(browser, "run6") == 30)
    drawn = {name.split()[0] for name in browser.execute_script(POINTS)}
    assert drawn == {f"run{k}" for k in (0, 1, 2, 3, 6)}
    assert "run6: finished" in text_of(browser)
    assert "the newest and the best" in text_of(browser)
    row = browser.execute_script(FIND, "run4")
    ActionChains(browser).move_to_element(browser.execute_script(BOX, row)).click().perform()
    until(browser, lambda: "run4: diverged" in text_of(browser))
    until(browser, lambda: {name.split()[0] for name in browser.execute_script(POINTS)} == {*drawn, "run4"})
    assert complaints(browser) == []


def test_another_sites_page_is_refused_and_a_foreign_name_gets_an_empty_page(watch):
    place = urlparse(watch[1])

    def ask(path, **headers):
        with closing(http.client.HTTPConnection(place.hostname, place.port, timeout=10)) as connection:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read().decode()

    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    upgrade |= {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol": "bokeh, token"}
    assert ask("/ws", **upgrade, Origin="http://example.org")[0] == 403
    assert "twolayer watch" in ask("/")[1]
    assert "twolayer watch" not in ask("/", Host=f"example.org:{place.port}")[1]
