"""ArrayTask: what own arrays mean, how some are held out, and what is refused with a word of advice."""

import numpy as np
import pytest

from evsim.arraytask import ArrayTask, read_npz
from evsim.task import SPLITS

pytestmark = pytest.mark.nojit


def arrays(n=40, steps=3, inputs=2, classes=4, **others):
    """A small data set with one class a sequence; x[i] is i everywhere, so that sequences can be told apart."""
    x = np.broadcast_to(np.arange(n, dtype=float)[:, None, None], (n, steps, inputs)).copy()
    return {"x": x, "y": np.arange(n) % classes, **others}


def places(task):
    """Split -> which of the sequences of `arrays` it holds."""
    return {split: task.split(split).x[:, 0, 0].astype(int).tolist() for split in SPLITS}


def test_it_describes_itself():
    task = ArrayTask(arrays(), name="mine")
    assert (task.n_in, task.n_out, task.steps, task.loss, task.chance) == (2, 4, 3, "cross_entropy", 0.25)
    assert task.sizes == {"train": 28, "validation": 6, "test": 6} == {s: len(task.split(s).x) for s in SPLITS}
    assert task.describe().startswith("mine: 3 steps of 2 in, 4 out, cross_entropy, chance 0.25; 28 train")
    assert task.split("train").x.dtype == np.float32 and task.split("train").y.dtype == np.int64


def test_held_out_sequences_are_disjoint_complete_and_always_the_same():
    one, two, other = (places(ArrayTask(arrays(), seed=seed)) for seed in (0, 0, 1))
    assert sorted(place for split in SPLITS for place in one[split]) == list(range(40))
    assert one == two != other


@pytest.mark.parametrize("counts", [(200, 50, 30), (97, 3, 1), (50, 50, 50)])
def test_classes_are_held_out_in_proportion(counts):
    y = np.repeat(np.arange(len(counts)), counts)
    task = ArrayTask({"x": np.zeros((len(y), 1, 1)), "y": y})
    for split in SPLITS:
        found = np.bincount(task.split(split).y, minlength=len(counts))
        assert np.abs(found - np.array(counts) * task.sizes[split] / len(y)).max() <= 2


def test_targets_stay_with_their_inputs():
    data = arrays(lengths=np.arange(40) % 3 + 1, mask=np.arange(120).reshape(40, 3) % 5 > 0)
    task = ArrayTask(data)
    for split, where in places(task).items():
        found = task.split(split)
        assert (found.y == data["y"][where]).all() and (found.lengths == data["lengths"][where]).all()
        inside = np.arange(3) < data["lengths"][where][:, None]
        assert (found.mask == (data["mask"][where] & inside)).all()


@pytest.mark.parametrize("held", [("validation",), ("test",), ("validation", "test")])
def test_parts_that_are_given_are_kept(held):
    extra = {}
    for split in held:
        extra |= {f"x_{split}": np.full((5, 3, 2), -1.0), f"y_{split}": np.zeros(5, int)}
    task = ArrayTask(arrays(**extra))
    assert all((task.split(split).x == -1).all() and task.sizes[split] == 5 for split in held)
    assert task.sizes["train"] == 40 - 6 * (2 - len(held)) and (task.split("train").x >= 0).all()


@pytest.mark.parametrize(
    ("y", "asked", "loss", "n_out", "shape"),
    [
        (np.arange(40) % 4, None, "cross_entropy", 4, ()),
        ((np.arange(120) % 5).reshape(40, 3).astype(np.uint8), None, "cross_entropy", 5, (3,)),
        (np.arange(40) % 2 == 0, None, "binary_cross_entropy", 1, (1,)),
        (np.arange(40) % 2, "binary_cross_entropy", "binary_cross_entropy", 1, (1,)),
        (np.linspace(0, 1, 40), None, "mse", 1, (1,)),
        (np.zeros((40, 7)), None, "mse", 7, (7,)),
        (np.zeros((40, 3, 2), np.float32), None, "mse", 2, (3, 2)),
    ],
)
def test_what_y_means(y, asked, loss, n_out, shape):
    task = ArrayTask({**arrays(), "y": y}, asked)
    assert (task.loss, task.n_out) == (loss, n_out)
    assert task.split("train").y.shape == (28, *shape)
    assert (task.chance is None) == (loss == "mse")


def test_chance_is_the_most_frequent_answer():
    assert ArrayTask({**arrays(), "y": np.arange(40) // 30}).chance == 0.75
    assert ArrayTask({**arrays(), "y": np.arange(40) // 10 > 0}).chance == 0.75


def test_what_lies_behind_the_end_or_the_mask_is_not_read():
    data = arrays(lengths=np.full(40, 2), y=np.tile([0, 1, -7], (40, 1)))
    data["x"][:, 2] = np.nan
    task = ArrayTask(data)
    assert task.n_out == 2 and np.isfinite(task.split("train").x).all()


def test_number_of_outputs_of_a_network_that_is_there():
    data = {**arrays(n=1), "y": np.array([0])}
    assert ArrayTask(data, n_out=10).given["train"].y.tolist() == [0]
    with pytest.raises(ValueError, match="holds class 2"):
        ArrayTask(arrays(), n_out=2)


BAD = {
    "no y": ({"y": None}, "y is missing among x"),
    "x of two axes": ({"x": np.zeros((40, 3))}, "x has shape"),
    "x of words": ({"x": np.full((40, 3, 2), "a")}, "x has dtype"),
    "x with NaN": ({"x": np.full((40, 3, 2), np.nan)}, r"x holds nan at index \(0, 0, 0\)"),
    "x beyond float32": ({"x": np.full((40, 3, 2), 1e300)}, "x holds inf"),
    "x empty": ({"x": np.zeros((0, 3, 2)), "y": np.zeros(0, int)}, "at least one sequence"),
    "y too short": ({"y": np.arange(39)}, "x holds 40 sequences"),
    "y of words": ({"y": np.full(40, "a")}, "y has dtype"),
    "y of one class": ({"y": np.zeros(40, int)}, "class 0 only"),
    "y of years": ({"y": np.arange(40) % 2 + 2000}, "number them from 0"),
    "y negative": ({"y": np.arange(40) - 1}, "class -1"),
    "y of three axes": ({"y": np.zeros((40, 3, 2), int)}, "cross entropy needs one class"),
    "y in two ways": ({"y": np.zeros((40, 3))}, r"two ways: give \(40, 3, 1\)"),
    "y with NaN": ({"y": np.full((40, 2), np.nan)}, "y holds nan"),
    "lengths beyond": ({"lengths": np.full(40, 4)}, "between 1 and 3"),
    "mask shape": ({"mask": np.ones((40, 4), bool)}, "mask has shape"),
    "mask empty": ({"mask": np.zeros((40, 3), bool)}, "keeps no target"),
    "test without y": ({"x_test": np.zeros((4, 3, 2))}, "x_test was given without y_test"),
    "y without test": ({"y_test": np.zeros(4, int)}, "y_test was given without x_test"),
    "test of another width": ({"x_test": np.zeros((4, 3, 5)), "y_test": np.zeros(4, int)}, "in the test part, x has"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", BAD)
def test_bad_arrays(case):
    change, told = BAD[case]
    data = {name: array for name, array in {**arrays(), **change}.items() if array is not None}
    with pytest.raises((ValueError, TypeError), match=told) as caught:
        ArrayTask(data)
    assert "\n" not in str(caught.value)


def test_bad_losses():
    with pytest.raises(ValueError, match="did you mean 'cross_entropy'"):
        ArrayTask(arrays(), "crossentropy")
    with pytest.raises(TypeError, match="whole numbers"):
        ArrayTask({**arrays(), "y": np.zeros(40)}, "cross_entropy")
    with pytest.raises(ValueError, match="needs 0 to 1"):
        ArrayTask(arrays(), "binary_cross_entropy")


def test_too_few_to_hold_some_out():
    task = ArrayTask(arrays(n=2, classes=2))
    with pytest.raises(ValueError, match="2 sequences, too few .* give more, or x_validation, y_validation and x_test"):
        task.split("train")


def test_from_a_file(tmp_path):
    file = tmp_path / "mine.npz"
    np.savez(file, **arrays())
    one, two = ArrayTask.from_npz(file), ArrayTask(arrays())
    assert one.name == "mine" and len(one.digest) == 64 and two.digest is None
    assert places(one) == places(two)


def write(path, how):
    """Write a file that is not a data set."""
    if how == "truncated":
        np.savez(path, **arrays())
        path.write_bytes(path.read_bytes()[:-200])
    elif how == "flipped":
        np.savez(path, **arrays())
        path.write_bytes(path.read_bytes().replace(b"\0\0\0\0\0\0\xf0\x3f", b"\0\0\0\0\0\1\xf0\x3f", 1))
    elif how == "text":
        path.write_text("x,y\n1,2\n")
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "npy":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif how == "objects":
        np.savez(path, x=np.array([None, 1]), y=np.zeros(2))
    elif how == "folder":
        path.mkdir()
    elif how == "unknown":
        np.savez(path, **arrays(), x_valid=np.zeros(3))
    elif how == "lacking":
        np.savez(path, x=np.zeros((4, 3, 2)))


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("truncated", "cannot be read"), ("flipped", "cannot be read"), ("text", "cannot be read"),
        ("empty", "cannot be read"), ("npy", "single array"), ("objects", "holds Python objects"),
        ("folder", "is a folder"), ("missing", "does not exist"), ("unknown", "did you mean 'x_validation'"),
        ("lacking", "no array 'y', only x"),
    ],
)  # fmt: skip
def test_bad_files(tmp_path, how, told):
    file = tmp_path / "mine.npz"
    write(file, how)
    with pytest.raises((ValueError, FileNotFoundError), match=told) as caught:
        read_npz(file)
    assert str(file) in str(caught.value)
