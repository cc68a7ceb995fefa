"""First run: learn real handwritten digits online, exactly, and look at what happened.

    python examples/first_run.py [--epochs 20] [--units 64] [--out first_run.png]

Trains an event-based GRU on scikit-learn's digits, shown row by row, with real-time recurrent learning; prints a table
and saves a picture: the learning curve, and which unit spoke when while a few digits were read.
"""

import argparse

import numpy as np

import evsim
from evsim.opcount import dense_rtrl_macs
from evsim.tasks.digits import Digits


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--epochs", type=int, default=20)
    options.add_argument("--units", type=int, default=64)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--out", default="first_run.png", help="picture to write; '' for none")
    given = options.parse_args()

    task = Digits(layout="rows")  # 8 steps of 8 pixels, ten classes, read at the last step
    net = evsim.Network(task.n_in, [evsim.EGRU(given.units, density=0.2, half_width=0.3)], evsim.Readout(task.n_out))
    learner = evsim.RTRL(net, loss=task.loss, streams=8, threads=given.threads)
    updates = given.epochs * -(-task.sizes["train"] // learner.streams)
    optimizer = evsim.Adam(evsim.Cosine(0.015, updates, warmup=min(50, updates // 4)), weight_decay=0.02)
    trainer = evsim.Trainer(learner, optimizer, task)
    print(net, f"{learner.memory['influence'] / 2**20:.1f} MiB of influence", sep="\n", flush=True)
    rows = trainer.fit(epochs=given.epochs, on_epoch=report)

    test = trainer.evaluate()
    macs, dense = learner.ops["multiply_adds"] / learner.ops["steps"], dense_rtrl_macs(net)
    print(f"test accuracy            {test['accuracy']:.1%}")
    print(f"activity                 {test['activity']:.3f}  of the units speak at a step")
    print(f"phi-rate                 {test['phi_rate']:.3f}  of the units can change what they say")
    print(f"multiply-adds per step   {macs:,.0f}  ({dense / macs:.0f} times fewer than dense RTRL's {dense:,})")
    if given.out:
        draw(rows, net, task, given.out)
        print("picture written to", given.out)


def report(row):
    print(
        f"epoch {row['epoch']:3d}  loss {row['loss']:.3f}  accuracy {row['accuracy']:.1%}  "
        f"validation {row['validation_accuracy']:.1%}  {row['steps_per_second']:,.0f} steps/s",
        flush=True,
    )


def draw(rows, net, task, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    data = task.split("test")
    shown = [int(np.argmax(data.y == digit)) for digit in (0, 1, 3, 4, 7, 9)]
    _, (events,) = net.run(data.x[shown], record_events=True)  # (6, T, n)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), width_ratios=(1, 1.5), layout="constrained")
    epochs = [row["epoch"] for row in rows]
    left.plot(epochs, [row["accuracy"] for row in rows], label="training")
    left.plot(epochs, [row["validation_accuracy"] for row in rows], label="validation")
    left.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1.02), title="learned online, exactly")
    left.legend(frameon=False, loc="lower right")
    joined = events.reshape(-1, events.shape[-1])
    steps, units = np.nonzero(joined)
    right.scatter(steps, units, s=7, c=joined[steps, units], cmap="viridis", marker="s", linewidths=0)
    for k, digit in enumerate(data.y[shown]):
        right.axvline(k * task.steps - 0.5, color="0.8", lw=0.8)
        right.text((k + 0.5) * task.steps - 0.5, net.layers[0].units + 1, f"'{digit}'", ha="center")
    right.set(xlabel="step (8 rows a digit); brighter: larger event", ylabel="unit", xlim=(-0.5, len(joined) - 0.5))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
