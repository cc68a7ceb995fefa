"""Online text: a stream of characters that never ends, learnt as it passes, one step at a time, in constant memory.

    python examples/online_text.py [--characters 100000] [--units 128] [--update 10] [--out online_text.png]

Reads the help of CPython (`evsim.tasks.text`) once, from its first character. Each character is told from those before
it, and only then learnt from, so the running bits per character are those of text not seen before. The gradient is
exact: it reaches back to the first character, and nothing of the past is kept but the state and the influence matrix.
"""

import argparse
import math

import numpy as np

import evsim
from evsim.evaluate import evaluate
from evsim.tasks.text import Text


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--characters", type=int, default=100_000, help="how many to read")
    options.add_argument("--units", type=int, default=128)
    options.add_argument("--density", type=float, default=1.0, help="of recurrent weights")
    options.add_argument("--update", type=int, default=10, help="characters between two updates of the weights")
    options.add_argument("--lr", type=float, default=3e-3)
    options.add_argument("--report", type=int, default=10_000, help="characters between two lines")
    options.add_argument("--out", default="", help="picture to write")
    given = options.parse_args()

    task = Text(limit=given.characters + 1)
    stream = task.corpus.train.tolist()  # numbers; task.corpus.vocabulary.decode(...) gives the text
    cell = evsim.EvRNN(given.units, density=given.density, threshold=0.1, half_width=0.1)
    net = evsim.Network(task.n_in, [cell], evsim.Readout(task.n_out), tokens=True)
    learner, optimizer = evsim.RTRL(net), evsim.Adam(given.lr)
    one_hot = np.eye(task.n_in, dtype=np.float32)
    print(net, f"{learner.memory['total'] / 2**20:.1f} MiB in all, whatever the length", sep="\n", flush=True)
    print("characters  bits/character  of the last  multiply-adds/character  active     MiB", flush=True)

    rows, loss, lately, before = [], 0.0, 0.0, learner.ops
    for k in range(given.characters):
        learner.step(one_hot[stream[k]], stream[k + 1])
        if (k + 1) % given.update == 0 or k + 1 == given.characters:
            lately += learner.loss
            learner.update(optimizer, clip=10.0)
        if (k + 1) % given.report == 0:
            loss, ops = loss + lately, learner.ops
            done = {name: (ops[name] - before[name]) / given.report for name in ("multiply_adds", "events")}
            rows.append((k + 1, loss / (k + 1) / math.log(2), lately / given.report / math.log(2)))
            print(
                f"{k + 1:10,}  {rows[-1][1]:14.3f}  {rows[-1][2]:11.3f}  {done['multiply_adds']:23,.0f}  "
                f"{done['events'] / given.units:6.1%}  {learner.memory['total'] / 2**20:6.1f}",
                flush=True,
            )
            lately, before = 0.0, ops
    test = evaluate(net, task.split("test"), task.loss)
    print(f"bits per character of the test text: {task.meaning(test['loss'])['bits_per_character']:.3f}")
    if given.out:
        draw(rows, task, given.out)
        print("picture written to", given.out)


def draw(rows, task, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    read, running, lately = zip(*rows, strict=True)
    axes.plot(read, running, label="all so far")
    axes.plot(read, lately, label="the last piece")
    axes.axhline(task.meaning(task.chance_loss)["bits_per_character"], color="0.6", label="without any context")
    axes.set(xlabel="characters read", ylabel="bits per character", title="learnt while it passes")
    axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
