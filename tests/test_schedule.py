"""Learning-rate schedules against their closed forms and against torch's."""

import math

import pytest

from evsim.schedule import (
    Constant,
    Cosine,
    Exponential,
    StepDecay,
    WarmRestarts,
    as_schedule,
    from_config,
    to_config,
)  # fmt: skip

EVERY_KIND = [
    Constant(0.1),
    Cosine(0.1, 50, warmup=5, final=0.01),
    WarmRestarts(0.1, 30, "multiply", 3, hold=4, final=0.01),
    StepDecay(0.1, 7, 0.5),
    Exponential(0.1, 0.9),
]

pytestmark = pytest.mark.nojit


def test_cosine_by_hand():
    rate = Cosine(2.0, 10, warmup=2, final=1.0)
    assert [rate(0), rate(1), rate(2)] == [1.0, 2.0, 2.0]
    assert rate(6) == pytest.approx(1.5, abs=1e-15)
    assert rate(4) == pytest.approx(1.5 + 0.5 * math.cos(math.pi / 4), abs=1e-15)
    assert [rate(10), rate(11), rate(10**9)] == [1.0, 1.0, 1.0]


def test_decays_by_hand():
    assert [StepDecay(1.0, 3, 0.5)(k) for k in range(7)] == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]
    assert [Exponential(1.0, 0.5)(k) for k in range(4)] == [1, 0.5, 0.25, 0.125]
    assert Exponential(1.0, 0.5)(5000) == 0.0


@pytest.mark.filterwarnings("ignore:Detected call of:UserWarning")
@pytest.mark.parametrize("name", ["cosine", "step", "exponential"])
def test_against_torch(name):
    torch = pytest.importorskip("torch")
    made = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler = torch.optim.lr_scheduler
    ours, theirs = {
        "cosine": (Cosine(0.3, 40, final=0.05), lambda: scheduler.CosineAnnealingLR(made, 40, eta_min=0.05)),
        "step": (StepDecay(0.3, 7, 0.2), lambda: scheduler.StepLR(made, 7, 0.2)),
        "exponential": (Exponential(0.3, 0.93), lambda: scheduler.ExponentialLR(made, 0.93)),
    }[name]
    theirs = theirs()
    for step in range(41):
        assert ours(step) == pytest.approx(theirs.get_last_lr()[0], rel=1e-12)
        theirs.step()


@pytest.mark.parametrize("schedule", EVERY_KIND)
def test_config_round_trip(schedule):
    again = from_config(to_config(schedule))
    assert again == schedule and type(again) is type(schedule)
    assert [again(k) for k in range(60)] == [schedule(k) for k in range(60)]


def test_numbers_and_callables():
    assert as_schedule(0.5) == Constant(0.5) and to_config(Constant(0.5)) == 0.5
    assert as_schedule(round) is round
    with pytest.raises(ValueError, match="cannot be saved: use Cosine"):
        to_config(lambda step: 0.1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: as_schedule(0.0),
        lambda: as_schedule(math.nan),
        lambda: as_schedule("fast"),
        lambda: as_schedule(True),
        lambda: Cosine(-1.0, 10),
        lambda: Cosine(1.0, 0),
        lambda: Cosine(1.0, 10.5),
        lambda: Cosine(1.0, 10, warmup=10),
        lambda: Cosine(1.0, 10, warmup=-1),
        lambda: Cosine(1.0, 10, final=2.0),
        lambda: Cosine(1.0, 10, final=-0.1),
        lambda: Cosine(1.0, 10, final=math.inf),
        lambda: WarmRestarts(1.0, 0.5),
        lambda: WarmRestarts(1.0, 5, "double"),
        lambda: WarmRestarts(1.0, 5, "multiply", 0),
        lambda: WarmRestarts(1.0, 5, hold=0),
        lambda: WarmRestarts(1.0, 5, final=2.0),
        lambda: WarmRestarts(0.0, 5),
        lambda: StepDecay(1.0, 0, 0.5),
        lambda: StepDecay(1.0, 5, 0.0),
        lambda: StepDecay(1.0, 5, 1.5),
        lambda: Exponential(math.inf, 0.5),
        lambda: Exponential(1.0, -0.5),
        lambda: from_config({"kind": "linear", "lr": 1.0}),
        lambda: from_config({"kind": "cosine", "lr": 1.0}),
        lambda: from_config({"kind": "cosine", "lr": 1.0, "steps": 5, "start": 2}),
    ],
)
def test_refused(make):
    with pytest.raises(ValueError, match="give|choose|takes"):
        make()
