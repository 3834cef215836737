"""IDX, npz, .npy and CIFAR-10 files written by hand in their published forms; what is not one is refused with words."""

from __future__ import annotations

import gzip
import struct
import tracemalloc

import numpy as np
import pytest
from data_helpers import all_rows, idx_bytes, pair, write

from twolayer.data import ArrayRows, ScaledRows, load_dataset
from twolayer.utils.errors import DataError

PLAIN = {"validation": 0, "scale": "none"}
IMAGES = np.arange(3 * 2 * 4, dtype=np.uint8).reshape(3, 2, 4)
DIGITS = np.array([7, 2, 7], np.uint8)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_mnist_s_format_is_read_and_stays_bytes(tmp_path, ending):
    data = load_dataset(train=pair(tmp_path, IMAGES, DIGITS, ending), **PLAIN)
    assert data.classes == (2, 7)
    np.testing.assert_array_equal(data.train.y, [1, 0, 1])
    assert data.preparation.image_shape == (2, 4)
    assert isinstance(data.train.X, ScaledRows)
    assert data.train.X.X.dtype == np.uint8
    np.testing.assert_array_equal(all_rows(data.train.X), IMAGES.reshape(3, 8))
    np.testing.assert_array_equal(data.train.X.raw(np.array([2, 0])), IMAGES.reshape(3, 8)[[2, 0]])


def test_the_bytes_of_an_idx_file_are_those_of_the_published_description(tmp_path):
    head = b"\0\0\x08\x03" + b"\0\0\0\x03" + b"\0\0\0\x02" + b"\0\0\0\x04"
    assert idx_bytes(IMAGES) == head + bytes(range(24))


@pytest.mark.parametrize("kind", ["u1", "i1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_every_idx_type_is_read_in_its_byte_order(tmp_path, kind, ending):
    X = np.array([[1, -2], [100, 3]]).astype(np.int8).astype(kind)
    data = load_dataset(train=pair(tmp_path, X, DIGITS[:2], ending), **PLAIN)
    np.testing.assert_array_equal(all_rows(data.train.X), X)


def test_the_shipped_images_are_those_of_the_files(root):
    folder = root / "data/fashion-mnist"
    source = {
        "features": str(folder / "t10k-images-idx3-ubyte.gz"),
        "labels": str(folder / "t10k-labels-idx1-ubyte.gz"),
    }
    data = load_dataset(train=source, validation=0)
    with gzip.open(source["features"]) as file:
        expected = np.frombuffer(file.read()[16:], np.uint8).reshape(1000, 784)
    np.testing.assert_array_equal(data.train.X.raw(np.arange(1000)), expected)
    assert data.preparation.image_shape == (28, 28)


def test_an_unpacked_idx_file_is_mapped_and_not_loaded(tmp_path):
    X = np.zeros((16, 1 << 20), np.uint8)
    X[:, 0] = range(16)
    source = pair(tmp_path, X, np.arange(16, dtype=np.uint8) % 2)
    tracemalloc.start()
    data = load_dataset(train=source, validation=0.25)
    out = np.empty((2, 1 << 20), np.float32)
    data.train.X.take(np.array([3, 0]), out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 140 * (1 << 20)  # blocks and statistics of a row, which are some times a row; not 16 rows of floats
    assert out.shape == (2, 1 << 20)


@pytest.mark.parametrize("kind", ["u1", "f4", "f8", ">f4", "i8"])
def test_a_pair_of_npy_files_is_mapped_whatever_its_numbers(tmp_path, kind):
    X = np.random.default_rng(0).integers(0, 100, (40, 3)).astype(kind)
    y = np.arange(40) % 4
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", y)
    data = load_dataset(train={"features": tmp_path / "X.npy", "labels": tmp_path / "y.npy"}, validation=0.3)
    assert isinstance(data.train.X, ScaledRows)
    chosen = X.astype(float)[data.train.row_numbers]
    expected = (chosen - chosen.mean(axis=0)) / chosen.std(axis=0)
    np.testing.assert_allclose(all_rows(data.train.X, np.float32), expected, atol=1e-5)
    np.testing.assert_array_equal(data.train.y, y[data.train.row_numbers])


@pytest.mark.parametrize("keys", [("X", "y"), ("features", "labels"), ("x_train", "y_train"), ("data", "target")])
def test_npz_files_are_read_under_the_usual_names(tmp_path, keys):
    X, y = np.random.default_rng(0).normal(size=(5, 3)), np.array(["b", "a", "b", "a", "b"])
    np.savez(tmp_path / "t.npz", **dict(zip(keys, (X, y), strict=True)))
    data = load_dataset(train=tmp_path / "t.npz", dtype="float64", **PLAIN)
    assert data.classes == ("a", "b")
    assert isinstance(data.train.X, ArrayRows)
    np.testing.assert_array_equal(all_rows(data.train.X, float), X)


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (np.array([3, 1, 3]), (1, 3)),
        (np.array([3.0, -1.0, 3.0]), (-1, 3)),
        (np.array([True, False, True]), (0, 1)),
        (np.array([2**40, 5, 2**40]), (5, 2**40)),
        (np.array([b"x", b"w", b"x"]), ("w", "x")),
    ],
)
def test_labels_of_any_type_become_indices_of_ascending_classes(tmp_path, y, classes):
    np.savez(tmp_path / "t.npz", X=np.eye(3), y=y)
    data = load_dataset(train=tmp_path / "t.npz", **PLAIN)
    assert data.classes == classes
    assert [type(label) for label in data.classes] == [type(label) for label in classes]
    np.testing.assert_array_equal(data.train.y, [1, 0, 1])


def test_labels_that_no_64_bit_integer_holds_are_refused(tmp_path):
    y = np.array([2**63 - 1, 5, 5], np.uint64)
    np.savez(tmp_path / "t.npz", X=np.eye(3), y=y)
    assert load_dataset(train=tmp_path / "t.npz", **PLAIN).classes == (5, 2**63 - 1)
    np.savez(tmp_path / "t.npz", X=np.eye(3), y=y + np.uint64(1))
    with pytest.raises(DataError, match=rf"t.npz \(y\): expected whole numbers below .*, got label {2**63}"):
        load_dataset(train=tmp_path / "t.npz", **PLAIN)


def cifar_rows(labels):
    rng = np.random.default_rng(0)
    planes = rng.integers(0, 256, (len(labels), 3, 32, 32), np.uint8)
    return planes, b"".join(bytes([label]) + plane.tobytes() for label, plane in zip(labels, planes, strict=True))


def test_cifar_s_binary_version_is_read_with_the_colours_of_a_pixel_side_by_side(tmp_path):
    planes, content = cifar_rows([3, 9, 0])
    more, rest = cifar_rows([9])
    paths = [str(write(tmp_path / "data_batch_1.bin", content)), str(write(tmp_path / "data_batch_2.bin", rest))]
    data = load_dataset(train=paths, **PLAIN)
    assert data.classes == (0, 3, 9)
    np.testing.assert_array_equal(data.train.y, [1, 2, 0, 2])
    assert data.preparation.image_shape == (32, 32, 3)
    images = all_rows(data.train.X).reshape(4, 32, 32, 3)
    for colour in range(3):
        np.testing.assert_array_equal(images[:3, :, :, colour], planes[:, colour])
        np.testing.assert_array_equal(images[3:, :, :, colour], more[:, colour])
    assert set(data.digests) == set(paths)
    X, y = data.preparation.read(paths[1])
    np.testing.assert_array_equal(X, images[3:].reshape(1, -1))
    np.testing.assert_array_equal(y, [2])


def header(code, *axes):
    return struct.pack(">BBBB", 0, 0, code, len(axes)) + struct.pack(f">{len(axes)}I", *axes)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "or another IDX type, got magic number 0x"),
        (b"\0\0\x08", "magic number 0x000008"),
        (b"\0\0\x07\x03" + bytes(100), "or another IDX type, got magic number 0x00000703"),
        (b"\x01\0\x08\x03" + bytes(100), "magic number 0x01000803"),
        (b"\0\0\x08\0", "magic number 0x00000800"),
        (b"\x93NUMPY\x01\0", "magic number 0x934e554d"),
        (b"\0\0\x08\x03\0\0", "expected at least one row of at least one number"),
        (idx_bytes(IMAGES)[:-1], "expected 24 bytes of data, as its header announces 3 x 2 x 4, got 23"),
        (idx_bytes(IMAGES) + b"\0", "expected 24 bytes of data, as its header announces 3 x 2 x 4, got 25"),
        (header(8, 4_000_000_000, 1000, 1000), "expected 4,000,000,000,000,000 bytes of data, as its header announces"),
        (header(8, 0, 28, 28), "expected at least one row of at least one number, got axes of (0, 28, 28)"),
        (header(8, *[1] * 9) + b"\0", "magic number 0x00000809"),
    ],
)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_an_idx_file_that_is_not_what_it_says_is_refused(tmp_path, content, said, ending):
    source = pair(tmp_path, IMAGES, DIGITS, ending)
    write(tmp_path / f"x-ubyte{ending}", content)
    with pytest.raises(DataError) as caught:
        load_dataset(train=source, **PLAIN)
    assert said in str(caught.value)
    assert str(caught.value).startswith(source["features"] + ": ")


def test_a_packed_idx_file_that_is_cut_short_or_a_bomb_is_refused(tmp_path):
    source = pair(tmp_path, IMAGES, DIGITS, ".gz")
    whole = gzip.compress(idx_bytes(IMAGES))
    (tmp_path / "x-ubyte.gz").write_bytes(whole[:-9])
    with pytest.raises(DataError, match="the gzip file is cut short"):
        load_dataset(train=source, **PLAIN)
    (tmp_path / "x-ubyte.gz").write_bytes(gzip.compress(header(8, 80 << 20, 1) + bytes(80 << 20), 1))
    with pytest.raises(DataError, match="more than 67,108,864 bytes packed in"):
        load_dataset(train=source, **PLAIN)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"X": np.eye(3)}, "expected one of 'X', .*, and one of 'y'.*, got arrays 'X'"),
        ({"X": np.eye(3), "data": np.eye(3), "y": DIGITS}, "expected one of .*, got arrays 'X', 'data', 'y'"),
        ({"X": np.eye(3), "y": np.arange(2)}, "expected one label for each row.*, got 3 rows of features and 2 labels"),
        ({"X": np.eye(3), "y": np.eye(3)}, r"expected one label for each row, .*, got labels of shape \(3, 3\)"),
        ({"X": np.eye(3), "y": DIGITS[:, None]}, r"labels of shape \(3, 1\)"),
        ({"X": np.eye(3), "y": np.array([0.5, 1, 2])}, "row 0: expected labels that are .*, got label 0.5"),
        ({"X": np.eye(3), "y": np.array([1, np.nan, 2])}, "row 1: expected .*, got label nan"),
        ({"X": np.eye(3), "y": np.array([1, 1, 1])}, "expected two or more classes, got one, 1"),
        ({"X": np.zeros((0, 3)), "y": np.zeros(0)}, r"features of shape \(0, 3\)"),
        ({"X": np.zeros(3), "y": DIGITS}, r"expected \(N, D\).*, got features of shape \(3,\)"),
        ({"X": np.array([["1"], ["2"], ["3"]]), "y": DIGITS}, "expected numbers.*, got features of type <U1"),
        ({"X": np.array([[1, 2], [3, np.nan], [5, 6]]), "y": DIGITS}, "row 1: feature 1: .*, got (nan|inf|-inf)"),
        ({"X": np.array([[1, 2], [3, 4], [-np.inf, 6]]), "y": DIGITS}, "row 2: feature 0: .*, got (nan|inf|-inf)"),
    ],
)
def test_invalid_npz_files_are_reported(tmp_path, arrays, said):
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(DataError, match=said):
        load_dataset(train=tmp_path / "t.npz", **PLAIN)


@pytest.mark.parametrize("scale", ["none", "center", "standardize", "max"])
@pytest.mark.parametrize(("row", "value"), [(5, np.nan), (31, np.inf), (0, -np.inf)])
def test_a_number_that_is_not_finite_is_found_in_a_mapped_file_whichever_part_it_falls_to(tmp_path, scale, row, value):
    X = np.random.default_rng(0).normal(size=(40, 3))
    X[row, 2] = value
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", np.arange(40) % 2)
    source = {"features": tmp_path / "X.npy", "labels": tmp_path / "y.npy"}
    for seed in range(4):
        with pytest.raises(DataError, match=f"X.npy, row {row}: feature 2: .*, got (nan|inf|-inf)"):
            load_dataset(train=source, validation=0.5, scale=scale, seed=seed)


def test_a_number_too_large_for_float32_is_found_in_a_mapped_file(tmp_path):
    X = np.random.default_rng(0).normal(size=(40, 3))
    X[7, 1] = 1e39
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", np.arange(40) % 2)
    source = {"features": tmp_path / "X.npy", "labels": tmp_path / "y.npy"}
    with pytest.raises(DataError, match=r"row 7: feature 1: .*finite number that float32 holds"):
        load_dataset(train=source, **PLAIN)
    assert len(load_dataset(train=source, validation=0, scale="max").train) == 40


def test_other_invalid_sources_are_reported(tmp_path):
    images = pair(tmp_path, IMAGES, DIGITS)
    np.save(tmp_path / "X.npy", np.array([None]), allow_pickle=True)
    (tmp_path / "packed.npy").write_bytes(gzip.compress(b""))
    (tmp_path / "t.npz").write_bytes(b"PK\5\6")
    (tmp_path / "short.bin").write_bytes(bytes(3072))
    (tmp_path / "ten.bin").write_bytes(b"\x0a" + bytes(3072))
    for source, said in (
        ({**images, "labels": images["features"]}, r"labels of shape \(3, 2, 4\)"),
        ({"features": images["features"]}, "expected features and labels, or generator.*, got keys 'features'"),
        (images["features"], "expected {features: FILE, labels: FILE}.*, got features without labels"),
        ({**images, "features": str(tmp_path / "X.npy")}, r"X.npy: expected .*, got Python objects \(a pickle\)"),
        ({**images, "features": str(tmp_path / "packed.npy")}, "expected it unpacked, or an .npz, got a gzipped .npy"),
        ({**images, "features": str(tmp_path / "t.npz")}, "features and labels in one file"),
        (tmp_path / "t.npz", "expected a file that np.save or np.savez wrote"),
        (tmp_path / "short.bin", "expected CIFAR-10's binary version.*, got 3,072 bytes"),
        (tmp_path / "ten.bin", "row 0: expected 0 to 9.*, got label 10"),
        ([tmp_path / "t.csv"], "expected one file, or a list of CIFAR-10's .bin files.*, got a list of .*"),
        ([], "a list of"),
    ):
        with pytest.raises(DataError, match=said):
            load_dataset(train=source, **PLAIN)


def test_a_test_file_of_other_images_is_refused(tmp_path):
    (tmp_path / "a").mkdir()
    other = pair(tmp_path / "a", np.zeros((3, 2, 5), np.uint8), DIGITS)
    with pytest.raises(DataError, match="expected 8 features, as in training, got 10"):
        load_dataset(train=pair(tmp_path, IMAGES, DIGITS), test=other, **PLAIN)
    unknown = pair(tmp_path / "a", IMAGES, DIGITS + 1)
    with pytest.raises(DataError, match="y-ubyte, row 0: expected a label known from training: 2, 7, got label 8"):
        load_dataset(train=pair(tmp_path, IMAGES, DIGITS), test=unknown, **PLAIN)


@pytest.mark.parametrize("part", ["validation", "test"])
@pytest.mark.parametrize("text", ["1,2\n3,4\n", "a,b\n1,2\n", "1,2,7\n"])
def test_a_csv_beside_training_arrays_has_no_labels_and_is_refused(tmp_path, part, text):
    np.savez(tmp_path / "t.npz", X=np.eye(4, 2), y=[7, 2, 7, 2])
    with pytest.raises(DataError, match=r"t.csv: expected rows with labels as in training.*, got a table, though .*"):
        load_dataset(train=tmp_path / "t.npz", **{**PLAIN, part: str(write(tmp_path / "t.csv", text))})
