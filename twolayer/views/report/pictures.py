"""Small pictures made of numbers: weights in two colours, image rows in grey."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NEGATIVE = np.array([0x00, 0x72, 0xB2])  # blue and vermilion: both ends differ in brightness from the white middle
_POSITIVE = np.array([0xD5, 0x5E, 0x00])


def png_bytes(pixels: NDArray[np.uint8], palette: NDArray[np.uint8] | None = None) -> bytes:
    """Return a PNG file.

    Args:
        pixels: (rows, columns) in grey, (rows, columns, 3) in RGB, or (rows, columns) of places in the palette.
        palette: (256, 3) RGB colours.
    """
    from PIL import Image

    image, buffer = Image.fromarray(pixels), io.BytesIO()
    if palette is not None:
        image.putpalette(palette.tobytes())
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def data_uri(png: bytes) -> str:
    """Return a PNG file as the address of a picture inside a page."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


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


def weights_png(W: NDArray[Any], shape: tuple[int, ...], limit: int = 64, columns: int = 16) -> bytes:
    """Return the columns of W (D, H) as pictures side by side, those of the largest norm first, on one scale.

    White is 0, vermilion positive, blue negative; full colour is the 99.5th percentile of |W|. Pictures with three
    channels show the mean over them.

    Args:
        W: (D, H) weights.
        shape: (rows, columns) or (rows, columns, 3) of a picture, D numbers in all.
        limit: how many units at most.
        columns: pictures side by side.
    """
    W = np.asarray(W, np.float64)
    if len(shape) == 3:
        W = W.reshape(-1, 3, W.shape[1]).mean(axis=1)
    order = np.argsort(-np.square(W).sum(axis=0), kind="stable")[:limit]
    full = float(np.quantile(np.abs(W[:, order]), 0.995)) or 1.0
    places = (np.clip(W[:, order] / full, -1, 1) * 127 + 128).round().astype(np.uint8)
    h, w = shape[0] + 1, shape[1] + 1
    sheet = np.full((-(-len(order) // columns) * h - 1, min(columns, len(order)) * w - 1), 128, np.uint8)
    for index in range(len(order)):
        top, left = index // columns * h, index % columns * w
        sheet[top : top + h - 1, left : left + w - 1] = places[:, index].reshape(shape[:2])
    return png_bytes(sheet, _two_colours())


def _two_colours() -> NDArray[np.uint8]:
    """Return colours (256, 3) from blue over white, at 128, to vermilion."""
    value = (np.arange(256)[:, None] - 128) / 127  # (256, 1)
    strength = np.clip(np.abs(value), 0, 1)
    end = np.where(value < 0, _NEGATIVE, _POSITIVE)
    colours: NDArray[np.uint8] = (255 + (end - 255) * strength).round().astype(np.uint8)
    return colours
