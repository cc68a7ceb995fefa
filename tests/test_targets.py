"""Targets: what a network needs by hand, what fits and by how much it does not, and what a target may not be."""

import numpy as np
import pytest

import evsim
from evsim.fixed.fits import check, split
from evsim.fixed.need import need
from evsim.fixed.targets import choose_targets, load_target, targets

pytestmark = pytest.mark.nojit
IN = np.array([[1, 1, 1], [0, 1, 0], [1, 0, 1], [0, 0, 0]], bool)
REC = np.array([[0, 1, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0]], bool)
UP = np.array([[1, 1, 1, 1], [0, 1, 0, 0]], bool)
OWN = """
what = "mine"
cells = ["lif"]
graded = false
resets = ["subtract"]
decay_bits = 12
[limits]
weight_bits = 8
fan_in = 5
[core]
units = 3
memory = 120
reserved = 20
count = 4
[memory]
flash = 100
ram = 100
"""


def small(reset="subtract", beta=0.75):
    """4 LIF units below 2 EGRU units, with masks that can be counted by hand."""
    lif = evsim.LIF(4, mask_in=IN, mask_rec=REC, reset=reset, beta=beta)
    return evsim.Network(3, [lif, evsim.EGRU(2, mask_in=UP)], evsim.Readout(2))


def own(tmp_path, text=OWN):
    file = tmp_path / "own.toml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_need_by_hand():
    found = need(small(), 4, 16)
    low, high, readout = found.layers
    assert (found.inputs, found.units, found.outputs) == (3, 6, 2)
    assert low.connections.tolist() == low.weights.tolist() == [6, 2, 2, 2]
    assert high.connections.tolist() == [6, 3] and high.weights.tolist() == [18, 9]  # three channels on either side
    assert readout.connections.tolist() == readout.weights.tolist() == [2, 2]
    assert low.fan_out.tolist() == [2, 5, 2, 2] and high.fan_out.tolist() == [2, 2]
    assert (low.graded, high.graded, low.reset, high.reset) == (False, True, "subtract", None)
    assert low.decays["beta"].tolist() == [0.75] * 4 and not high.decays
    each = [layer.bytes(4, 16) for layer in found.layers]
    assert [one["weights"] for one in each] == [3 + 3, 8 + 6, 2]  # 6 and 6, 15 and 12, and 4 of half a byte
    assert [one["index"] for one in each] == [12 + 4 + 5, 5 + 5, 0]  # all hear all in the other recurrence
    assert [one["parameters"] for one in each] == [4 * (4 + 2 * 2), 2 * (4 * 4 + 2), 2 * 4]
    assert [one["state"] for one in each] == [4 * (2 + 1 + 4 + 4), 2 * (2 + 4 + 4 * 4), 2 * (2 + 4)]
    assert found.bytes() == {"weights": 22, "index": 31, "parameters": 76, "state": 100, "flash": 129, "ram": 100}
    wide = need(small(), 16, 32)
    assert wide.bytes()["weights"] == 2 * (12 + 27 + 4)
    assert wide.bytes()["state"] == 4 * (4 + 1 + 8 + 4) + 2 * (4 + 8 + 4 * 4) + 2 * (4 + 4)
    told = wide.told()
    assert told["weights"] == 43 and told["layers"][1]["fan_in"] == 6 and told["layers"][1]["cell"] == "egru"


def test_a_leaky_readout_and_a_large_layer():
    net = evsim.Network(2, [evsim.CubaLIF(300, density=0.01)], evsim.LeakyReadout(3, kappa=0.5))
    low, readout = need(net).layers
    assert low.bytes(8, 16)["index"] == 2 * int(net.masks()["layers.0.weight_rec"].sum()) + 2 * 301
    # nothing for inputs, for all units hear them; more than 256 units: an index takes two bytes
    assert sorted(low.decays) == ["alpha", "beta"] and readout.decays["kappa"].tolist() == [0.5] * 3
    assert readout.name == "readout" and readout.cell == "leaky" and not readout.graded


def test_cores_by_hand():
    layer = need(small(), 8, 16).layers[0]
    assert layer.unit_bytes(8, 16).tolist() == [6 + 6 + 8 + 11, 23, 23, 23]
    assert split(layer, 8, 16) == (1, 31 + 9)  # 9 bytes say where the connections of 3 and of 4 sources begin
    assert split(layer, 8, 16, units=1)[0] == 4 and split(layer, 8, 16, units=3)[0] == 2
    assert [split(layer, 8, 16, None, room)[0] for room in (109, 108, 63, 62, 54, 40)] == [1, 2, 2, 3, 4, 4]
    assert split(layer, 8, 16, None, 39) == (None, 40)
    assert split(layer, 8, 16, 2, 109)[0] == 2  # whichever comes first


def test_everything_that_does_not_fit_is_said_by_how_much(tmp_path):
    name = own(tmp_path)
    found = check(need(small("zero", 0.99999), 16, 16), name)
    assert not found["fits"] and found["target"] == name and found["note"] is None
    assert found["misfits"] == [
        f"layers.0 resets by 'zero', {name} by subtract: train with that",
        f"layers.1 is of egru units, which {name} does not have: choose lif",
        f"layers.1 sends events with values, {name} only events without: choose a cell whose events are binary",
        f"the network needs 16 bits of a weight, {name} allows 8: 8 too many; quantise with fewer --bits",
        f"layers.0 needs fan-in 6, {name} allows 5: 1 too many",
        f"layers.1 needs fan-in 6, {name} allows 5: 1 too many",
        f"layers.0 has beta 0.99999, of which {name} makes 1, for it holds multiples of 2**-12: so it would never "
        "forget",
        f"the network needs 5 cores, {name} allows 4: 1 too many",
        f"the network needs 193 bytes of flash, {name} allows 100: 93 too many",
    ]  # fmt: skip
    assert found["cores"] == {"layers": {"layers.0": 2, "layers.1": 2, "readout": 1}, "needed": 5}
    by = {(one["where"], one["what"]): one for one in found["limits"]}
    assert by["layers.0", "fan-in"] == {
        "where": "layers.0", "what": "fan-in", "needed": 6, "limit": 5, "over": 1, "fits": False
    }  # fmt: skip
    assert by["the network", "bytes of RAM"]["fits"] and by["the network", "bytes of RAM"]["over"] == 0


def test_a_unit_that_is_too_large_for_a_core(tmp_path):
    found = check(need(small(), 8), own(tmp_path, OWN.replace("memory = 120", "memory = 59")))
    assert found["cores"] == {"layers": {"layers.0": None, "layers.1": None, "readout": 1}, "needed": None}
    assert any("layers.0 has a unit of 40 bytes, a core of " in one and one.endswith("room for 39: 1 too many")
               for one in found["misfits"])  # fmt: skip


@pytest.mark.parametrize("beta, off", [(0.75, None), (0.9375, None), (0.951229, "0.9375"), (0.5, None), (0.0, None)])
def test_decays_by_shifts(beta, off):
    net = evsim.Network(3, [evsim.LIF(4, beta=beta)], evsim.Readout(2))
    found = check(need(net), "xylo-like")
    assert found["fits"] == (off is None)
    if off:
        (told,) = found["misfits"]
        assert f"beta 0.951229, of which xylo-like makes {off}" in told and "22 % off in the time constant" in told


def test_xylo_counts_what_a_unit_feeds():
    net = evsim.Network(17, [evsim.LIF(80, beta=0.75)], evsim.Readout(9))
    told = check(need(net, 16, 32), "xylo-like")["misfits"]
    for part in ("needs 17 inputs, xylo-like allows 16: 1 too", "needs 9 outputs, xylo-like allows 8: 1 too",
                 "fan-out 80, xylo-like allows 64: 16 too", "mean fan-out of 80.0, xylo-like allows 32: 48.0 too",
                 "16 bits of a weight", "32 bits of a state"):  # fmt: skip
        assert any(part in one for one in told)
    assert len(told) == 6


def test_the_microcontroller_and_the_others():
    net = evsim.Network(8, [evsim.EGRU(64, density=0.2)], evsim.Readout(10))
    for name in ("mcu", "loihi2-like", "spinnaker2-like"):
        assert check(need(net, 8, 16), name)["fits"]
    wide = evsim.Network(8, [evsim.EGRU(256, density=0.5)], evsim.Readout(10))
    found = check(need(wide, 8, 16), "mcu")
    parts = need(wide, 8, 16).bytes()
    over = parts["weights"] + parts["index"] + parts["parameters"] + 8192 - 65536
    assert any(one.endswith(f"mcu allows 65,536: {over:,} too many") for one in found["misfits"])
    assert check(need(wide, 8, 16), "spinnaker2-like")["cores"]["needed"] > 2


@pytest.mark.parametrize("name", targets())
def test_targets_are_whole_and_name_their_sources(name):
    found = load_target(name)
    numbers = {*found.get("limits", {}), "cells", "graded"} | {key for key in ("decay", "decay_bits") if key in found}
    core = {"core_" + key for key in found.get("core", {})}
    missing = (numbers | core) - set(found["sources"]) - {"graded"}
    assert not missing and found["what"] and found["note"]
    for text in found["sources"].values():
        known = ("stand-in", "inferred", "remember", "20", "page", "table", "source", "choice", "Nazeer")
        assert any(word in text for word in known)


def test_choosing():
    assert [one["name"] for one in choose_targets("all")] == targets()
    assert [one["name"] for one in choose_targets("mcu, xylo-like")] == ["mcu", "xylo-like"]
    with pytest.raises(ValueError, match="target 'xylo' is unknown: choose one of loihi2-like, .*mean 'xylo-like'"):
        choose_targets("mcu,xylo")
    with pytest.raises(FileNotFoundError, match="none.toml does not exist"):
        load_target("none.toml")


REFUSED = {
    "cell": ('["lif"]', '["lfi"]', "cells='lfi' is unknown: choose one of .*did you mean 'lif'"),
    "cells": ('["lif"]', '"lif"', "cells='lif' is no list"),
    "graded": ("graded = false", "graded = 0", "graded=0 is not usable: give true or false"),
    "reset": ('["subtract"]', '["none"]', "resets='none' is unknown: choose one of subtract, zero"),
    "decay": ("decay_bits = 12", 'decay = "table"', "decay='table' is unknown: choose one of shift"),
    "both": ("decay_bits = 12", 'decay_bits = 12\ndecay = "shift"', "decay and decay_bits were both given"),
    "bits": ("decay_bits = 12", "decay_bits = 0", "decay_bits=0 is not usable: give a whole number of at least 1"),
    "limit": ("fan_in = 5", "fan_in = 5.5", "limits.fan_in=5.5 is not usable: give a whole number of at least 1"),
    "unknown": ("fan_in = 5", "fanin = 5", "limits has fanin, which is not known"),
    "core": ("count = 4", "count = true", "core.count=True is not usable"),
    "reserved": ("reserved = 20", "reserved = 120", "core.reserved=120 leaves nothing of memory"),
    "key": ('what = "mine"', 'what = "mine"\nspeed = 3', "the file has speed, which is not known"),
    "missing": ('cells = ["lif"]', "", "the file lacks cells"),
    "what": ('what = "mine"', "what = 3", "what=3 is not text"),
    "note": ('what = "mine"', 'what = "mine"\nnote = 3', "note=3 is not text"),
    "not TOML": ("[limits]", "[limits", "cannot be read as TOML"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_bad_targets_are_refused_in_one_sentence(name, tmp_path):
    before, after, told = REFUSED[name]
    with pytest.raises(ValueError, match=told) as error:
        load_target(own(tmp_path, OWN.replace(before, after)))
    assert "own.toml" in str(error.value) and "\n" not in str(error.value).strip()


def test_bad_widths_and_networks():
    with pytest.raises(ValueError, match="bits=5 is unknown: choose one of 4, 8, 16"):
        need(small(), 5)
    with pytest.raises(ValueError, match="state_bits=8 is unknown: choose one of 16, 32"):
        need(small(), 8, 8)
    with pytest.raises(TypeError, match="pass an evsim.Network"):
        need(3)
    with pytest.raises(ValueError, match="limits has fanin"):
        check(need(small()), {"what": "", "cells": ["lif"], "graded": True, "limits": {"fanin": 3}})
