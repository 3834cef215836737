"""Small pictures, read back by Pillow where they are files."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from twolayer.views.evaluation import reliability
from twolayer.views.report import image_shape_of, picture_uri, reliability_figure, row_picture, weights_picture


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (28, 28), (5, 4, 3), (32, 32, 3)])
def test_pixels_come_back_as_they_were(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    kind, _, content = picture_uri(pixels).partition(",")
    assert kind == "data:image/png;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(content)))
    np.testing.assert_array_equal(np.asarray(picture.convert("RGB" if pixels.ndim == 3 else "L")), pixels)


def test_a_reliability_diagram_has_a_dot_for_each_bin_and_larger_ones_for_more_rows():
    P = np.array([[0.9, 0.1]] * 8 + [[0.6, 0.4]] * 2)
    figure = reliability_figure(*reliability(np.array([0] * 7 + [1] * 3), P)[:3])
    dots = figure.axes[0].collections[-1]
    np.testing.assert_allclose(dots.get_offsets(), [[0.6, 0.0], [0.9, 7 / 8]])
    assert dots.get_sizes()[1] > dots.get_sizes()[0]
    assert picture_uri(figure).startswith("data:image/png;base64,")


def test_a_row_is_drawn_from_black_to_white():
    assert row_picture(np.array([0, 8, 16, 4]), (2, 2)).tolist() == [[0, 128], [255, 64]]
    assert row_picture(np.zeros(4), (2, 2)).tolist() == [[0, 0], [0, 0]]
    assert row_picture(np.array([-1.0, 1.0]), (1, 2)).tolist() == [[0, 255]]


def test_weights_are_white_at_zero_vermilion_above_and_blue_below():
    W = np.zeros((4, 1))
    W[1], W[2] = 1.0, -1.0
    picture = weights_picture(W, (2, 2))
    assert picture.shape == (2, 2, 3)
    assert (picture[0, 0] == 255).all()
    assert picture[0, 1].tolist() == [0xD5, 0x5E, 0x00]
    assert picture[1, 0, 2] > 150 > picture[1, 0, 0]


def test_weights_show_the_units_of_largest_norm_in_their_places():
    W = np.random.default_rng(2).standard_normal((6, 40)) * np.linspace(0.1, 2, 40)
    picture = weights_picture(W, (2, 3), limit=5, columns=5)
    assert picture.shape == (2, 5 * 4 - 1, 3)
    strongest = np.square(W).sum(axis=0).argmax()
    first = picture[:, :3].reshape(6, 3).astype(int)
    reddish = first[:, 0] > first[:, 2]
    np.testing.assert_array_equal(reddish, W[:, strongest] > 0)


def test_a_coloured_pixel_shows_the_mean_of_its_channels():
    W = np.random.default_rng(3).standard_normal((12, 2))
    grey = W.reshape(4, 3, 2).mean(axis=1)
    np.testing.assert_array_equal(weights_picture(W, (2, 2, 3)), weights_picture(grey, (2, 2)))


def test_only_rows_of_the_right_length_are_pictures():
    assert image_shape_of(64, (8, 8)) == (8, 8)
    assert image_shape_of(12, (2, 2, 3)) == (2, 2, 3)
    assert image_shape_of(63, (8, 8)) is None
    assert image_shape_of(8, (2, 2, 2)) is None
    assert image_shape_of(64, None) is None
