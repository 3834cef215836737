"""The plane of a two-feature model shows the class that is predicted there."""

import io

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from view_runs import made_history

from twolayer.views.boundary import GRID, Plane, animate_boundary, boundary_figure
from twolayer.views.style import OKABE_ITO, new_figure, save

X = np.random.default_rng(0).uniform(-1, 1, (80, 2))
Y = (X[:, 0] > 0).astype(int) + 2 * (X[:, 1] > 0)


def quadrants(points):
    """Certain of the quadrant: class 0 below left, 1 below right, 2 above left, 3 above right."""
    return np.eye(4)[(points[:, 0] > 0).astype(int) + 2 * (points[:, 1] > 0)]


def hue(colour):
    """Which of the channels is largest, and which smallest."""
    return int(np.argmax(colour)), int(np.argmin(colour))


def test_each_part_of_the_plane_has_its_class_colour_with_x_across_and_y_up():
    image = Plane(X, Y, range(4)).image(quadrants)
    near, far = GRID // 8, GRID - GRID // 8
    for k, (row, column) in enumerate([(near, near), (near, far), (far, near), (far, far)]):
        expected = [int(OKABE_ITO[k][at : at + 2], 16) for at in (1, 3, 5)]
        assert hue(image[row, column].astype(int)) == hue(expected), k


def test_a_mark_is_on_the_colour_of_its_class_in_the_picture():
    figure = new_figure(4, 4)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    Plane(np.zeros((1, 2)), Y[:1], range(4)).draw(
        axes, quadrants
    )  # one row at the origin; the plane reaches 0.08 around
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[:, :, :3].astype(int)
    for k, place in enumerate([(-0.05, -0.05), (0.05, -0.05), (-0.05, 0.05), (0.05, 0.05)]):
        across, up = axes.transData.transform(place)
        expected = [int(OKABE_ITO[k][at : at + 2], 16) for at in (1, 3, 5)]
        assert hue(pixels[len(pixels) - int(up), int(across)]) == hue(expected), k


def test_the_plane_is_paler_where_the_model_is_unsure():
    plane = Plane(X, Y % 2, range(2))
    sure = plane.image(lambda points: np.tile([0.99, 0.01], (len(points), 1)))
    unsure = plane.image(lambda points: np.tile([0.51, 0.49], (len(points), 1)))
    assert unsure.astype(int).sum() > sure.astype(int).sum()


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_boundary_is_written(tmp_path, ending):
    plane = Plane(X, Y, list("abcd"), ("income_$_per_$", "b^$^$"))
    save(boundary_figure(plane, quadrants), tmp_path / f"b.{ending}")
    assert (tmp_path / f"b.{ending}").stat().st_size > 5000


def test_the_legend_has_every_class_in_its_own_words():
    labels = ["_hi", "a$_$b", "$x$", "d"]
    axes = new_figure(4, 4).subplots()
    Plane(X, Y, labels).draw(axes, quadrants)
    axes.figure.canvas.draw()
    assert [text.get_text().strip().replace(r"\$", "$") for text in axes.legend().get_texts()] == labels


def test_rows_at_a_single_place_can_be_drawn():
    Plane(np.ones((3, 2)), np.zeros(3, int), ["a"]).image(lambda points: np.ones((len(points), 2)) / 2)


def test_an_animation_has_a_frame_for_each_snapshot_and_they_differ(tmp_path):
    models = [(epoch, lambda points, shift=epoch / 10: quadrants(points + shift)) for epoch in (0, 5, 10)]
    animate_boundary(Plane(X, Y, range(4)), models, made_history(10), tmp_path / "a.gif")
    image = Image.open(io.BytesIO((tmp_path / "a.gif").read_bytes()))
    assert image.n_frames == 3
    frames = []
    for k in range(3):
        image.seek(k)
        frames.append(np.asarray(image.convert("RGB")).astype(int))
    nothing = dict.fromkeys(("train_loss", "val_loss"), np.full(10, np.nan))
    animate_boundary(Plane(X, Y, range(4)), models, made_history(10, **nothing), tmp_path / "b.gif")
    assert all(np.abs(frames[k + 1] - frames[k]).max() > 50 for k in range(2))
