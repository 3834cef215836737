"""The server of `watch`: Bokeh's, on the loopback address unless another is asked for, for its own pages only."""

from __future__ import annotations

import logging
import os
import socket
import sys
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twolayer.utils.errors import TwoLayerError, import_extra
from twolayer.views.live.following import Follower

if TYPE_CHECKING:
    from bokeh.document import Document

LOOPBACK = "127.0.0.1"
_TRIES = 20  # ports after the one asked for


def serve(places: Sequence[Path], address: str, port: int, browse: bool, say: Callable[[str], None]) -> None:
    """Serve the page about some places (see `Follower`) until the process is interrupted, at the port or the next free
    one (0: any); `say` the address, and open it in the browser, where there is one.

    Raises:
        TwoLayerError: if no port is free, or (`MissingExtraError`) without Bokeh.
    """
    import_extra("bokeh", "report", "watch")
    from bokeh.application import Application
    from bokeh.application.handlers import FunctionHandler
    from bokeh.server.server import Server
    from bokeh.settings import settings
    from tornado.ioloop import IOLoop

    from twolayer.views.live.page import WatchPage

    settings.log_level = "warn"  # of the browser's console
    for name in ("bokeh", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    port = _free_port(address, port)
    hosts = [f"{host}:{port}" for host in _hosts(address)]
    follower = Follower(places)

    def document(page: Document) -> None:
        context: Any = page.session_context
        host = context.request.headers.get("Host", "")
        if host in hosts:  # a page of another site that has its name resolve to this machine gets nothing
            WatchPage(page, follower)

    loop = IOLoop()
    server = Server(
        {"/": Application(FunctionHandler(document))},
        io_loop=loop,
        address=address,
        port=port,
        allow_websocket_origin=hosts,
        check_unused_sessions_milliseconds=5000,
        unused_session_lifetime_milliseconds=10_000,
    )
    url = f"http://{hosts[0]}/"
    say(url)
    if address != LOOPBACK:
        say(f"{address}: every computer that reaches this address can read these runs; there is no password")
    server.start()
    # A browser without a window would take over the terminal.
    windows = sys.platform in ("win32", "darwin") or {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()
    try:
        if browse and windows:
            loop.add_callback(webbrowser.open, url)
        loop.start()
    except KeyboardInterrupt:
        pass
    finally:
        server.stop()
        loop.close(all_fds=True)


def _hosts(address: str) -> list[str]:
    """Return the names by which a browser may call the server."""
    others = [] if address == LOOPBACK else [LOOPBACK, socket.gethostname(), socket.getfqdn()]
    return list(dict.fromkeys([address, "localhost", *others]))


def _free_port(address: str, port: int) -> int:
    reason = ""
    for candidate in range(port, port + _TRIES) if port else [0]:
        try:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address, candidate))
                return int(probe.getsockname()[1])
        except OSError as error:
            reason = error.strerror or str(error)
    raise TwoLayerError(f"--address {address} --port {port}: {reason}; choose another port or address")
