"""Energy: the sums by hand, the profiles and their sources, and what a profile of one's own may not be."""

import numpy as np
import pytest
from oracle import network, sequence, targets_for

import evsim
from evsim.joules import DEFAULT, MODEL, energy, load_profile, profiles
from evsim.work import PARTS, STORES

OWN = """
what = "mine"
word_bytes = 2
[compute]
add = 1
multiply = 2.5
unit_update = 10
event = 100
[[memory]]
bytes = 64
read = 3
write = 4
[[memory]]
read = 1000
write = 2000
"""


def counted_ops(**more):
    net = network(("egru", "lif"), density=0.5)
    learner = evsim.RTRL(net, loss="mse", streams=2)
    for _ in range(3):
        learner.run(sequence(net, 10, lead=(2,)), targets_for(net, "mse", (2, 10)))
        learner.update(evsim.Adam(1e-3))
        learner.reset()
    return learner.ops


def own(tmp_path, text=OWN):
    file = tmp_path / "own.toml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_joules_by_hand(tmp_path):
    ops = counted_ops()
    found = energy(ops, own(tmp_path))
    for part in PARTS:
        told = ops["parts"][part]
        compute = told["multiply_adds"] + 2.5 * (told["multiply_adds"] - told["additions"]) + 10 * told["unit_updates"]
        compute += 100 * ops["events"] if part == "forward" else 0
        memory = 0
        for store, moved in told["words"].items():
            small = 2 * ops["stores"][store] <= 64
            memory += moved["read"] * (3 if small else 1000) + moved["written"] * (4 if small else 2000)
        assert found["parts"][part]["compute"] == pytest.approx(compute * 1e-12, rel=1e-12)
        assert found["parts"][part]["memory"] == pytest.approx(memory * 1e-12, rel=1e-12)
    assert found["joules"] == found["compute"] + found["memory"] > 0
    assert found["joules"] == pytest.approx(sum(sum(part.values()) for part in found["parts"].values()))
    assert found["joules_per_step"] == found["joules"] / 60
    assert ops["sequences"] == 6
    assert found["joules_per_sample"] == found["joules"] / 6
    assert found["joules_per_inference"] == sum(found["parts"]["forward"].values()) / 6
    assert found["note"] == MODEL and "not a measurement" in MODEL and "not a measurement" in energy.__doc__
    assert found["stores"]["influence"] is None


@pytest.mark.nojit
def test_a_store_lies_in_the_smallest_memory_that_holds_it():
    ops, price = counted_ops(), load_profile(DEFAULT)
    for words, level in ((0, 8192), (2048, 8192), (2049, 32768), (2**18, 2**20), (2**18 + 1, None)):
        ops["stores"]["weights"] = words
        assert energy(ops, price)["stores"]["weights"] == level
    found = [energy({**ops, "stores": dict.fromkeys(STORES, words)})["memory"] for words in (100, 5000, 10**5, 10**7)]
    np.testing.assert_allclose(np.array(found) / found[0], [1, 2, 10, 195])


@pytest.mark.nojit
def test_nothing_done_takes_nothing():
    ops = evsim.BPTT(network(("lif",))).ops
    found = energy(ops)
    assert found["joules"] == 0
    assert found["joules_per_step"] is found["joules_per_inference"] is found["joules_per_sample"] is None


@pytest.mark.nojit
@pytest.mark.parametrize("name", profiles())
def test_profiles_are_whole_and_name_their_sources(name):
    profile = load_profile(name)
    assert profile["name"] == name and profile["what"]
    assert set(profile["sources"]) == {*profile["compute"], "memory"}
    for text in profile["sources"].values():
        assert "stand-in" in text or "20" in text or "Arm" in text  # says so, or names a year or a manual
    assert energy(counted_ops(), name)["joules"] > 0


@pytest.mark.nojit
def test_what_is_known_of_45_nm():
    real, whole = load_profile("cmos45-float32"), load_profile("cmos45-int8")
    assert (real["compute"]["add"], real["compute"]["multiply"]) == (0.9, 3.7)
    assert (whole["compute"]["add"], whole["compute"]["multiply"]) == (0.1, 0.2)
    for profile, share in ((real, 2), (whole, 8)):
        assert [level["read"] * share for level in profile["memory"]] == [10, 20, 100, 1950]
        assert profile["word_bytes"] * share == 8


REFUSED = {
    "negative": ("add = 1", "add = -1", "compute.add=-1 is not usable: give a number of at least 0"),
    "text": ("event = 100", 'event = "much"', "compute.event='much' is not usable"),
    "flag": ("event = 100", "event = true", "compute.event=True is not usable"),
    "nan": ("event = 100", "event = nan", "compute.event=nan is not usable"),
    "missing": ("multiply = 2.5\n", "", "compute lacks multiply"),
    "unknown": ("multiply = 2.5", "multiply = 2.5\ndivide = 1", "compute has divide, which is not known"),
    "no compute": ("[compute]", "[calculate]", "the file lacks compute"),
    "no memory": ("[[memory]]", "[[store]]", "the file lacks memory"),
    "word": ("word_bytes = 2", "word_bytes = 0", "word_bytes=0 is not usable: give a number above 0"),
    "what": ('what = "mine"', "what = 3", "what=3 is not text"),
    "memory unknown": ("read = 3", "read = 3\nspeed = 3", "memory 1 has speed, which is not known"),
    "memory missing": ("write = 2000", "", "memory 2 lacks write"),
    "size": ("bytes = 64", "bytes = -64", "memory 1, bytes=-64 is not usable"),
    "order": ("[[memory]]\nread = 10", "[[memory]]\nbytes = 64\nread = 1\nwrite = 1\n[[memory]]\nread = 10", "order"),
    "not TOML": ("[compute]", "[compute", "cannot be read as TOML"),
    "source": ("[compute]", "[sources]\nadd = 3\n[compute]", "sources is no table of texts"),
}  # fmt: skip


@pytest.mark.nojit
@pytest.mark.parametrize("name", REFUSED)
def test_bad_profiles_are_refused_in_one_sentence(name, tmp_path):
    before, after, told = REFUSED[name]
    with pytest.raises(ValueError, match=told.replace("[", r"\[")) as error:
        load_profile(own(tmp_path, OWN.replace(before, after)))
    assert "own.toml" in str(error.value) and "\n" not in str(error.value).strip()


@pytest.mark.nojit
def test_unknown_profiles(tmp_path):
    with pytest.raises(ValueError, match="profile 'cmos45' is unknown: choose one of cmos45-float32, .*did you mean"):
        load_profile("cmos45")
    with pytest.raises(FileNotFoundError, match=r"none.toml does not exist"):
        load_profile(tmp_path / "none.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        load_profile(tmp_path / "folder.toml")
    with pytest.raises(ValueError, match="ops has no 'parts': give what learner.ops returns"):
        energy({"steps": 3})
    price, ops = load_profile(DEFAULT), counted_ops()
    with pytest.raises(ValueError, match="compute.add=-1 is not usable: give a number of at least 0"):
        energy(ops, {**price, "compute": {**price["compute"], "add": -1}})
    with pytest.raises(ValueError, match="the file lacks memory, word_bytes: add it"):
        energy(ops, {"what": "mine", "compute": price["compute"]})
