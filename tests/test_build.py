"""Build: settings become cells and readouts; a setting that the chosen cell does not have is refused."""

import pytest

from evsim.build import build_network, resolve
from evsim.cli import main

pytestmark = pytest.mark.nojit


def net_of(**chosen):
    settings, task = resolve({"task": "spiral", **chosen})
    return build_network(settings, task)


def test_settings_of_cells_and_readouts():
    options = {"threshold": 0.8, "reset": "zero", "tau": 0.03}
    net = net_of(cell="alif", layers=2, readout="leaky", **options)
    assert net.config()["readout"]["kind"] == "leaky"
    assert [cell.kind for cell in net.layers] == ["alif", "alif"]
    assert [{name: getattr(cell, name) for name in options} for cell in net.layers] == [options] * 2
    assert net_of().config()["readout"]["kind"] == "linear"


def test_a_half_width_made_for_one_cell_is_not_that_of_another():
    known = {cell: net_of(task="digits", cell=cell).layers[0].half_width for cell in ("egru", "lif", "adlif")}
    assert known == {"egru": 0.3, "lif": 0.5, "adlif": 0.1}
    assert net_of(task="digits", cell="lif", half_width=0.7).layers[0].half_width == 0.7


def test_a_threshold_made_for_one_cell_is_not_that_of_another():
    known = {cell: net_of(task="text", limit=50, cell=cell).layers[0].threshold for cell in ("evrnn", "lif", "egru")}
    assert known == {"evrnn": 0.1, "lif": 1.0, "egru": 0.3}
    assert net_of(task="text", limit=50, cell="lif", threshold=0.7).layers[0].threshold == 0.7


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--tau", "0.01"], "cell 'egru' has no option 'tau': leave it out or choose another cell"),
        (["--cell", "lif", "--tau", "0.0001"], "layers.0 (LIF): tau=0.0001 s is shorter than a step of dt=0.001 s"),
        (["--cell", "lif", "--reset", "both"], "LIF layer: reset='both' is unknown: choose one of subtract, zero"),
        (["--readout", "leeky"], "readout='leeky' is unknown: choose one of linear, leaky; did you mean 'leaky'?"),
        (["--cell", "liff"], "cell 'liff' is unknown: "),
    ],
)
def test_the_command_line_refuses_in_one_line(options, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "spiral", *options]) == 2
    told = capsys.readouterr().err
    assert sentence in told and told.count("\n") == 1
    assert not list(tmp_path.iterdir())
