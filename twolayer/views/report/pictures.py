"""Small pictures made of numbers: weights in two colours, rows of images, and the reliability diagram."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twolayer.views import style
from twolayer.views.evaluation import Reliability

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image


def figure_uri(figure: Figure) -> str:
    """Return a figure, in 256 colours, as the address of a picture in a page."""
    from PIL.Image import open as open_image

    return _uri(open_image(io.BytesIO(style.picture(figure))).convert("RGB").quantize(256))


def pixels_uri(pixels: NDArray[np.uint8]) -> str:
    """Return pixels, (rows, columns) in grey or (rows, columns, 3) in RGB, as the address of a picture in a page."""
    from PIL.Image import fromarray

    image = fromarray(pixels)
    return _uri(image.quantize(256) if image.mode == "RGB" and image.getcolors(256) else image)  # a palette is smaller


def _uri(image: Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def image_shape_of(n_features: int, image_shape: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Return the shape in which a row is a picture: (rows, columns), (rows, columns, 3), or None if it is none."""
    if image_shape is None or int(np.prod(image_shape)) != n_features:
        return None
    return tuple(image_shape) if len(image_shape) == 2 or image_shape[2:] == (3,) else None


def row_picture(row: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return a raw row (D,) as pixels: the largest value is white, and 0, or the least value if negative, black."""
    values = np.asarray(row, float)
    low, high = min(0.0, float(values.min())), float(values.max())
    grey = (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)
    pixels: NDArray[np.uint8] = grey.round().astype(np.uint8).reshape(shape)
    return pixels


def weights_picture(W: NDArray[Any], shape: tuple[int, ...], limit: int = 64, columns: int = 16) -> NDArray[np.uint8]:
    """Return columns of W (D, H) as pictures of a shape (of D numbers) in rows of `columns`, in RGB: at most `limit`,
    those of the largest norm first, on one scale.

    White is 0, vermilion positive, blue negative; full colour is the 99.5th percentile of |W|. Pictures with three
    channels show the mean over them."""
    from matplotlib.colors import LinearSegmentedColormap

    W = np.asarray(W, np.float64)
    if len(shape) == 3:
        W = W.reshape(-1, 3, W.shape[1]).mean(axis=1)
    order = np.argsort(-np.square(W).sum(axis=0), kind="stable")[:limit]
    full = float(np.quantile(np.abs(W[:, order]), 0.995)) or 1.0
    columns = min(columns, len(order))
    rows, h, w = -(-len(order) // columns), shape[0] + 1, shape[1] + 1
    tiles = np.zeros((rows * columns, h, w))  # a line of zeros below and right of each picture
    tiles[: len(order), :-1, :-1] = W.T[order].reshape(-1, h - 1, w - 1)
    sheet = tiles.reshape(rows, columns, h, w).swapaxes(1, 2).reshape(rows * h, columns * w)[:-1, :-1]
    colours = LinearSegmentedColormap.from_list("weights", [style.TRAINING, "white", style.VALIDATION], N=255)
    pixels: NDArray[np.uint8] = colours(0.5 + sheet / (2 * full), bytes=True)[:, :, :3]
    return pixels


@style.default_look()
def reliability_figure(bins: Reliability) -> Figure:
    """Draw the reliability diagram: accuracy over confidence, a dot for each bin, its area by the bin's rows."""
    figure = style.new_figure(3.6, 3.4)
    axes = figure.subplots()
    figure.subplots_adjust(0.16, 0.14, 0.97, 0.97)
    axes.plot([0, 1], [0, 1], color=style.MARK, linewidth=1, linestyle="--")
    axes.vlines(bins.confidence, bins.confidence, bins.accuracy, color=style.VALIDATION, linewidth=1)
    area = 20 + 180 * bins.rows / bins.rows.max()
    axes.scatter(bins.confidence, bins.accuracy, area, color=style.TRAINING, alpha=0.75, zorder=3)
    style.tidy(axes, "confidence (top probability)", "accuracy (share right)")
    return figure
