"""The plane of two features coloured by the predicted class, and an animation of it over the epochs with the loss
beside it, from the parameter snapshots of a run."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twolayer.network.model import Array, Params
from twolayer.runs.checkpoint import Model, read_model_arrays
from twolayer.runs.folder import SNAPSHOTS, RunFolder
from twolayer.utils.errors import DataError, RunError
from twolayer.utils.files import CANNOT_READ, explained, held, write_atomically
from twolayer.utils.text import shown
from twolayer.views import style
from twolayer.views.evaluation import raw_rows
from twolayer.views.run_data import RunData
from twolayer.views.style import PANELS, RunGroup, panel_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PredictProba = Callable[[Array], Array]

GRID = 180  # points of the plane along each axis
MARGIN = 0.08  # of the rows' extent, on each side
MARKERS = "o^sDvP*X"
MAX_POINTS = 2000  # rows drawn
FRAME_MS, LAST_FRAME_MS = 120, 1800
_ABOVE: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "ncols": 6, "frameon": False}
_ABOVE |= {"borderaxespad": 0.2, "columnspacing": 1.2, "handletextpad": 0.4}


class Plane:
    """Two-feature raw rows X (N, 2) of classes y (N,), and the grid of points around them on which a model is drawn."""

    def __init__(self, X: Array, y: Array, classes: Sequence[Any], names: Sequence[str] = ("x1", "x2")) -> None:
        step = -(-len(X) // MAX_POINTS)
        self.X, self.y, self.classes, self.names = X[::step], y[::step], classes, names
        low, high = X.min(axis=0), X.max(axis=0)
        margin = MARGIN * np.where(high > low, high - low, 1.0)
        low, high = low - margin, high + margin
        self.extent = (low[0], high[0], low[1], high[1])
        across, up = np.linspace(low[0], high[0], GRID), np.linspace(low[1], high[1], GRID)
        self.points = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)  # (GRID * GRID, 2), bottom row first

    def image(self, predict_proba: PredictProba) -> NDArray[np.uint8]:
        """Return the predicted class's colour (GRID, GRID, 3), the paler the less sure, from a model of raw rows."""
        P = predict_proba(self.points)
        sure = (P.max(axis=1) - 1 / P.shape[1]) / (1 - 1 / P.shape[1])
        colours = np.array([list(bytes.fromhex(style.line_look(k)[0][1:])) for k in range(P.shape[1])])
        mixed = 255 + (colours[P.argmax(axis=1)] - 255) * (0.08 + 0.42 * sure)[:, None]
        image: NDArray[np.uint8] = mixed.round().astype(np.uint8).reshape(GRID, GRID, 3)
        return image

    def draw(self, axes: Axes, predict_proba: PredictProba) -> None:
        """Draw the plane and the rows on it: colour and shape of a mark by its class."""
        image = self.image(predict_proba)
        axes.imshow(image, extent=self.extent, origin="lower", aspect="auto", interpolation="bilinear")
        look: dict[str, Any] = {"markersize": 4.5, "markeredgecolor": "white", "markeredgewidth": 0.5}
        for k, label in enumerate(self.classes):
            look |= {"color": style.line_look(k)[0], "label": style.legend_name(label)}
            axes.plot(*self.X[self.y == k].T, MARKERS[k % len(MARKERS)], **look)
        axes.set(xlabel=style.plain(self.names[0]), ylabel=style.plain(self.names[1]))


def plane_of(run: Path, classes: Sequence[Any]) -> Plane:
    """Return the plane of a run's training rows, read again from their files. Raises DataError if they do not have two
    features, FileError if a file is gone or cannot be read."""
    rows = raw_rows(run, "train")
    if rows.X.shape[1] != 2:
        raise DataError(f"{run}: expected rows of 2 features to draw a boundary, got {rows.X.shape[1]}")
    return Plane(rows.X, rows.y, classes, rows.preparation.feature_names)


def snapshot_models(run: Path, model: Model, newest: bool = False) -> list[tuple[int, Model]]:
    """Return the models of a run's snapshots, each with its epoch, in their order; with `newest` the last alone. Raises
    RunError if one of the files is damaged, or of another network than the run's `model`."""
    folder, found = RunFolder(run), []
    if not (paths := sorted(folder.snapshots.glob(SNAPSHOTS))[-1 if newest else 0 :]):
        return []
    with explained(folder.snapshots, CANNOT_READ), held(folder.snapshots):
        for path in paths:
            arrays, header = read_model_arrays(path, kinds=("snapshot",))
            params = Params(arrays.get("W1"), arrays.get("b1"), arrays["W2"], arrays["b2"])
            if (params.n_features, params.n_classes) != (model.params.n_features, model.params.n_classes):
                raise RunError(f"{path}: expected a network like {model.params}, as in best.npz, got {params}")
            epoch = header.get("epoch")
            if type(epoch) is not int or epoch < 0:
                raise RunError(f"{path}: epoch: expected a number from 0, got {shown(epoch)}")
            found.append((epoch, Model(params, model.preparation)))
    return sorted(found, key=lambda each: each[0])


@style.default_look()
def boundary_figure(plane: Plane, predict_proba: PredictProba) -> Figure:
    """Draw the plane as a model sees it: raw rows (M, 2) to probabilities (M, C)."""
    figure = style.new_figure(5.4, 4.8, left=0.155, right=0.97, bottom=0.12, top=0.9)
    axes = figure.subplots()
    plane.draw(axes, predict_proba)
    axes.legend(**_ABOVE)
    return figure


@style.default_look()
def animate_boundary(
    plane: Plane, frames: Sequence[tuple[int, PredictProba]], history: Mapping[str, Array], path: Path
) -> None:
    """Write a GIF with a frame for each (epoch, model), in the order of the epochs: the boundary, and beside it the
    losses of the history up to that epoch."""
    from PIL import Image

    losses = [RunData(Path(), history).column(name) for name in PANELS["loss"].lines]
    images = []
    for epoch, model in frames:
        figure = style.new_figure(8.4, 4.0, left=0.1, right=0.985, bottom=0.135, top=0.89, wspace=0.26)
        left, right = figure.subplots(1, 2)
        plane.draw(left, model)
        left.set_title(f"epoch {epoch}", loc="left", fontsize=12, fontweight="bold")
        so_far = RunData(Path(), {name: column[history["epoch"] <= epoch] for name, column in history.items()})
        for line in panel_lines(PANELS["loss"], RunGroup("", (so_far,)), "epoch"):
            right.plot(line.x, line.y, color=line.color, linewidth=line.width, label=line.words)
            right.plot(line.x[-1:], line.y[-1:], "o", color=line.color, markersize=5)
        style.tidy(right, "epoch", PANELS["loss"].axis)
        PANELS["loss"].scale_axis(right, losses)
        right.set_xlim(0, float(history["epoch"][-1]) * 1.02)
        if right.lines:
            right.legend(**_ABOVE)
        images.append(Image.open(io.BytesIO(style.picture(figure))).convert("RGB"))
    palette = images[-1].quantize(128)
    first, *others = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    buffer = io.BytesIO()
    times = [FRAME_MS] * len(others) + [LAST_FRAME_MS]
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=times, loop=0, optimize=False)
    write_atomically(path, buffer.getvalue())
