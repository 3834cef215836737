"""The decision boundary of the explained run on the page of `watch`, as it moves."""

from __future__ import annotations

from typing import Any

import numpy as np

from twolayer.config import load_config
from twolayer.runs.checkpoint import read_model_arrays
from twolayer.utils.errors import TwoLayerError
from twolayer.views import style
from twolayer.views.boundary import GRID, Plane, newest_model, plane_of
from twolayer.views.interactive import safe_text
from twolayer.views.live.following import LiveRun

_MARKS = ("circle", "triangle", "square", "star", "diamond", "inverted_triangle", "plus", "x")


class BoundaryPanel:
    """A panel with the plane of two features, its rows and the predicted class; empty for other data.

    Attributes:
        plot: Bokeh's figure.
    """

    def __init__(self) -> None:
        from bokeh.models import ColumnDataSource, Range1d
        from bokeh.plotting import figure

        self.plot: Any = figure(
            height=300,
            title="boundary",
            x_range=Range1d(start=0, end=1),
            y_range=Range1d(start=0, end=1),
            tools="pan,wheel_zoom,box_zoom,reset",
            active_drag="box_zoom",
            active_scroll=None,
        )
        self.plot.toolbar.logo = None
        self._image = ColumnDataSource({"image": [], "x": [], "y": [], "dw": [], "dh": []})
        self._rows = ColumnDataSource({"x": [], "y": [], "color": [], "mark": []})
        self.plot.image_rgba("image", x="x", y="y", dw="dw", dh="dh", source=self._image)
        self.plot.scatter(
            "x", "y", color="color", marker="mark", size=6, line_color="white", line_width=0.5, source=self._rows
        )
        self._plane: tuple[str, Plane | None] = ("", None)
        self._drawn: object = None

    def update(self, run: LiveRun) -> None:
        """Draw the newest model of a run that the folder holds: of its snapshots, or the best so far."""
        path = run.folder.path
        try:
            if self._plane[0] != str(path):
                self._plane, self._drawn = (str(path), None), None
                self._image.data = {name: [] for name in self._image.data}
                self._rows.data = {name: [] for name in self._rows.data}
                self._plane = str(path), self._read_plane(run)
            plane = self._plane[1]
            stamp = (str(path), run.version)
            if plane is None or stamp == self._drawn:
                return
            epoch, model = newest_model(path)
        except (TwoLayerError, OSError) as error:
            self.plot.title.text = safe_text(str(error).splitlines()[0])
            return
        first, self._drawn = self._drawn is None, stamp
        self.plot.title.text = safe_text(f"{path.name}, epoch {epoch}")
        left, right, bottom, top = plane.extent
        if first:
            self.plot.x_range.update(start=left, end=right)
            self.plot.y_range.update(start=bottom, end=top)
        pixels = np.full((GRID, GRID, 4), 255, np.uint8)
        pixels[:, :, :3] = plane.image(model.predict_proba)
        image: Any = pixels.view(np.uint32).reshape(GRID, GRID)
        self._image.data = {"image": [image], "x": [left], "y": [bottom], "dw": [right - left], "dh": [top - bottom]}

    def _read_plane(self, run: LiveRun) -> Plane | None:
        arrays = read_model_arrays(run.folder.best, kinds=("model",))[0]
        if len(arrays.get("W1", arrays["W2"])) != 2:
            self.plot.title.text = "The boundary is drawn for rows of two features."
            return None
        plane = plane_of(run.folder.path, load_config(run.folder.config), range(len(arrays["b2"])))
        names = [safe_text(name) for name in plane.names]
        self.plot.xaxis.axis_label, self.plot.yaxis.axis_label = names
        self._rows.data = {
            "x": plane.X[:, 0],
            "y": plane.X[:, 1],
            "color": [style.line_look(k)[0] for k in plane.y],
            "mark": [_MARKS[k % len(_MARKS)] for k in plane.y],
        }
        return plane
