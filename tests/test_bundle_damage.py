"""Files that are no bundle, or no longer: one clear sentence each, from whoever reads them."""

import io
import json
import zipfile

import numpy as np
import pytest
from bundled import arrays_of, edited, network, written

import evsim
from evsim.exports import bundle, replay
from evsim.registry import lookup

HEADER = {
    "foreign": ({"format": "evsim checkpoint"}, "is of kind 'evsim checkpoint'"),
    "newer": ({"version": 2}, "install a newer evsim"),
    "older": ({"version": 0}, "export the run again"),
    "dtype": ({"dtype": "float16"}, "float16"),
    "other dtype": ({"dtype": "float64"}, "has dtype float32, not float64"),
    "dt": ({"dt": float("nan")}, "dt=nan"),
    "loss": ({"loss": "mae"}, "loss='mae'"),
    "no layers": ({"layers": []}, "names no layers"),
    "layers of numbers": ({"layers": [1]}, "does not fit together"),
    "unknown cell": ({"layers": [{"kind": "liff", "units": 7}]}, "did you mean 'lif'"),
    "units": ({"layers": [{"kind": "lif", "units": 8}]}, "has shape (8,), not (9)"),
    "no units": ({"layers": [{"kind": "lif"}]}, "no 'units'"),
    "setting": ({"layers": [{"kind": "lif", "units": 7, "reset": "none"}]}, "reset='none'"),
    "unknown setting": ({"layers": [{"kind": "lif", "units": 7, "colour": 1}]}, "colour"),
    "readout": ({"readout": {"kind": "linear", "units": 4}, "n_out": 4}, "readout.weight has shape (3, 7), not (4, 7)"),
    "outputs": ({"n_out": 4}, "n_out is 4"),
    "inputs": ({"n_in": 4}, "trace.x has shape (128, 5), not (any, 4)"),
}
ARRAYS = {
    "ptr falls": (lambda a: {"layers.0.weight_rec.ptr": a["layers.0.weight_rec.ptr"][::-1]}, "ptr does not rise"),
    "ptr too far": (lambda a: {"layers.0.weight_rec.ptr": a["layers.0.weight_rec.ptr"] * 2}, "ptr does not rise"),
    "source negative": (lambda a: {"layers.0.weight_rec.source": a["layers.0.weight_rec.source"] - 1}, "holds -1"),
    "source too large": (lambda a: {"layers.0.weight_rec.source": a["layers.0.weight_rec.source"] + 1}, "holds 7"),
    "source twice": (lambda a: {"layers.0.weight_rec.source": a["layers.0.weight_rec.source"] * 0}, "not ascend"),
    "source float": (lambda a: {"layers.0.weight_rec.source": a["layers.0.weight_rec.source"] * 1.0}, "whole numbers"),
    "few weights": (lambda a: {"layers.0.weight_in.weight": a["layers.0.weight_in.weight"][:, 1:]}, "weights for"),
    "weight NaN": (lambda a: {"layers.0.weight_in.weight": a["layers.0.weight_in.weight"] * np.float32("nan")}, "nan"),
    "bias infinite": (lambda a: {"layers.0.bias": a["layers.0.bias"] + np.float32("inf")}, "inf"),
    "beta": (lambda a: {"layers.0.beta": a["layers.0.beta"] + 1}, "layers.0: LIF layer: beta=1.9"),
    "threshold": (lambda a: {"layers.0.threshold": -a["layers.0.threshold"]}, "must be above 0"),
    "events": (lambda a: {"trace.events.0": a["trace.events.0"][1:]}, "trace.events.0 holds 127 steps"),
    "lengths": (lambda a: {"trace.lengths": a["trace.lengths"][:0]}, "at least one sequence"),
    "extra": (lambda a: {"layers.1.bias": a["layers.0.bias"]}, "does not belong in it"),
    "objects": (lambda a: {"layers.0.bias": np.array([None])}, "cannot be read"),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return written(network(("lif",)), tmp_path_factory.mktemp("sound") / "a")


def refused(path, told):
    """Both readers of the file say so, in one line."""
    for call in (replay.verify, bundle.load):
        with pytest.raises(ValueError) as error:
            call(path)
        assert told in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("case", HEADER)
def test_a_header_that_does_not_fit_is_refused(sound, case):
    change, told = HEADER[case]
    units = {"layers": [{**json.loads(str(arrays_of(sound)["header"]))["layers"][0], **change["layers"][0]}]} if (
        case in ("units", "setting", "unknown setting")
    ) else {}  # fmt: skip
    refused(edited(sound, {**change, **units}), told)


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_that_do_not_fit_are_refused(sound, case):
    change, told = ARRAYS[case]
    refused(edited(sound, **change(arrays_of(sound))), told)


def test_damage_is_refused(sound, tmp_path):
    whole = sound.read_bytes()
    for k, size in enumerate(np.linspace(0, len(whole) - 1, 12).astype(int)):
        (tmp_path / f"{k}").write_bytes(whole[:size])
        refused(tmp_path / f"{k}", "cannot be read as a bundle")
    (tmp_path / "text").write_text("weights: 1, 2\n")
    refused(tmp_path / "text", "cannot be read as a bundle")
    np.save(tmp_path / "one.npy", np.ones(3))
    refused(tmp_path / "one.npy", "cannot be read as a bundle")
    for name in arrays_of(sound):
        refused(edited(sound, drop=(name,)), "header" if name == "header" else f"no array {name}")
    turned = bytearray(whole)
    turned[len(whole) // 3] ^= 8
    (tmp_path / "turned").write_bytes(turned)
    refused(tmp_path / "turned", "damaged")
    with zipfile.ZipFile(tmp_path / "torn", "w") as file:  # an array's own header, which numpy reads as Python
        torn = io.BytesIO()
        np.save(torn, np.zeros(3))
        file.writestr("header.npy", torn.getvalue().replace(b"(3,)", b"(3, "))
    refused(tmp_path / "torn", "cannot be read as a bundle")
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(FileNotFoundError, match="evsim export --to bundle"):
            bundle.read(path)


def test_a_class_that_the_registry_does_not_name_is_refused(tmp_path):
    class Other(lookup("cell", "lif")):
        kind = "lif"

    net = evsim.Network(2, Other(3), evsim.Readout(1))
    with pytest.raises(ValueError, match="does not stand for"):
        written(net, tmp_path / "a")
    assert not list(tmp_path.iterdir())
