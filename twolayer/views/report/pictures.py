"""Small pictures made of numbers: weights in two colours, image rows in grey, and the reliability diagram."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twolayer.views import style
from twolayer.views.evaluation import Reliability


def png_bytes(pixels: NDArray[np.uint8], palette: NDArray[np.uint8] | None = None) -> bytes:
    """Return pixels as a PNG file: (rows, columns) in grey, (rows, columns, 3) in RGB, or (rows, columns) of places in
    a palette (256, 3)."""
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
    """Return columns of W (D, H) as pictures of a shape (of D numbers) in rows of `columns`: at most `limit`, those of
    the largest norm first, on one scale.

    White is 0, vermilion positive, blue negative; full colour is the 99.5th percentile of |W|. Pictures with three
    channels show the mean over them."""
    from matplotlib.colors import LinearSegmentedColormap

    W = np.asarray(W, np.float64)
    if len(shape) == 3:
        W = W.reshape(-1, 3, W.shape[1]).mean(axis=1)
    order = np.argsort(-np.square(W).sum(axis=0), kind="stable")[:limit]
    full = float(np.quantile(np.abs(W[:, order]), 0.995)) or 1.0
    places = (np.clip(W / full, -1, 1) * 127 + 128).round().astype(np.uint8)  # 128 is 0
    h, w = shape[0] + 1, shape[1] + 1
    sheet = np.full((-(-len(order) // columns) * h - 1, min(columns, len(order)) * w - 1), 128, np.uint8)
    for index, unit in enumerate(order):
        top, left = index // columns * h, index % columns * w
        sheet[top : top + h - 1, left : left + w - 1] = places[:, unit].reshape(shape[:2])
    colours = LinearSegmentedColormap.from_list("weights", [style.TRAINING, "white", style.VALIDATION], N=255)
    return png_bytes(sheet, colours(np.arange(-1, 255), bytes=True)[:, :3])


def reliability_svg(bins: Reliability) -> str:
    """Return the reliability diagram: accuracy over confidence, a dot for each bin, its area by the bin's rows."""
    ticks = (0, 0.2, 0.4, 0.6, 0.8, 1)
    grid = "".join(f"M{tick} 0V1M0 {tick}H1" for tick in ticks)
    labels = "".join(
        f'<text x="{50 + 260 * tick}" y="288" text-anchor="middle">{tick}</text>'
        f'<text x="44" y="{276 - 260 * tick}" text-anchor="end">{tick}</text>'
        for tick in ticks
    )
    gaps, dots = "", ""
    for confidence, accuracy, rows in zip(bins.confidence, bins.accuracy, bins.rows, strict=True):
        radius = (3 + 9 * float(np.sqrt(rows / bins.rows.max()))) / 260
        hover = f"{rows} rows: confidence {confidence:.3f}, accuracy {accuracy:.3f}"
        gaps += f"M{confidence:.4f} {confidence:.4f}V{accuracy:.4f}"
        dots += (
            f'<circle cx="{confidence:.4f}" cy="{accuracy:.4f}" r="{radius:.4f}" fill="{style.TRAINING}" '
            f'fill-opacity=".75"><title>{hover}</title></circle>'
        )
    return (
        '<svg width="330" height="316" font-size="12" role="img" aria-label="reliability diagram">'
        '<g transform="translate(50 272) scale(260 -260)" stroke-width=".004">'  # from 0 to 1, upwards
        f'<path d="{grid}" stroke="{style.GRID}"/>'
        f'<path d="M0 0L1 1" stroke="{style.MARK}" stroke-dasharray=".02 .015"/>'
        f'<path d="{gaps}" stroke="{style.VALIDATION}"/>{dots}</g>{labels}'
        '<text x="180" y="308" text-anchor="middle">confidence (top probability)</text>'
        '<text transform="translate(14 142) rotate(-90)" text-anchor="middle">accuracy (share right)</text></svg>'
    )
