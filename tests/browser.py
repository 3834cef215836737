"""A headless Chromium for the tests of pages."""

import shutil

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # the network is off: no name can be looked up
    "--window-size=1200,1000",
)

# Bokeh keeps its elements in nested shadow roots, which selectors do not enter.
FIND = """
function find(root, label) {
  for (const each of root.querySelectorAll('*')) {
    if (each.children.length == 0 && each.textContent.trim() == label && each.offsetWidth > 0) return each;
    const inside = each.shadowRoot && find(each.shadowRoot, label);
    if (inside) return inside;
  }
  return null;
}
return find(document, arguments[0]);
"""


def new_browser(profile):
    """A browser that logs its console and what it asks the network for."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service(DRIVER))
