"""AutoAugment: a controller looks for the policy that makes a small network generalise best, then it is trained on it.

A policy is 5 sub-policies of 2 operations, each with a probability and a magnitude; one is drawn for each batch. The
controller holds a distribution for every decision. It draws a policy, a child network is trained on few digits with
it, and the decisions become more or less probable with the child's accuracy on validation digits (REINFORCE, with the
mean of the last rewards as baseline). Cubuk et al. 2019, AutoAugment, searched with a recurrent controller, 15,000
children and 80 to 100 epochs each; here it is 100 children on the 8 x 8 digits, which 2 cores do in minutes.

RESULT
"""

import time

import numpy as np
from tqdm import tqdm

from fastcnn import Sequential, datasets, layers, utils
from fastcnn.data import Dataset
from fastcnn.layers.policies import NAMES

SUB_POLICIES, STEPS = 5, 2
CHILDREN = 100
CHILD_EPOCHS, FINAL_EPOCHS = 60, 150
TRAIN, VALID = 200, 600  # few to learn from, many to compare policies by
BATCH = 25
RATE = 0.6  # of the controller; rewards are differences of accuracy in units of their deviation
OPERATIONS = [name for name in NAMES if name not in ("Color", "Identity")]  # digits have no colour
PROBABILITIES = [0.2, 0.4, 0.6, 0.8, 1.0]
MAGNITUDES = [1, 3, 5, 7, 9]
SEEDS = range(5)  # of the final comparison


class Controller:
    """A categorical distribution for the operation, probability and magnitude of every step of every sub-policy."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        sizes = (len(OPERATIONS), len(PROBABILITIES), len(MAGNITUDES))
        self.logits = [np.zeros((SUB_POLICIES, STEPS, size)) for size in sizes]
        self.rewards: list[float] = []

    def shares(self) -> list[np.ndarray]:
        return [np.exp(z) / np.exp(z).sum(-1, keepdims=True) for z in self.logits]

    def draw(self) -> list[np.ndarray]:
        """Decisions (sub-policies, steps) of each kind: the largest logit + Gumbel noise."""
        return [(z + self.rng.gumbel(size=z.shape)).argmax(-1) for z in self.logits]

    def learn(self, decisions: list[np.ndarray], reward: float) -> None:
        """Logits up along the gradient of (reward - baseline) log p(decisions)."""
        self.rewards.append(reward)
        latest = self.rewards[-10:]
        advantage = (reward - np.mean(latest)) / (np.std(latest) + 1e-3)
        for z, share, chosen in zip(self.logits, self.shares(), decisions, strict=True):
            z += RATE * advantage * (np.eye(z.shape[-1])[chosen] - share)


def policy_of(decisions: list[np.ndarray]) -> list[list[tuple[str, float, float]]]:
    operations, probabilities, magnitudes = decisions
    return [
        [
            (OPERATIONS[operations[i, j]], PROBABILITIES[probabilities[i, j]], MAGNITUDES[magnitudes[i, j]])
            for j in range(STEPS)
        ]
        for i in range(SUB_POLICIES)
    ]


def accuracy(policy: list | None, data: list, epochs: int, seed: int) -> float:
    """Of a child trained with the policy (None: without), on the second data set."""
    (x, y), (x_test, y_test) = data
    utils.set_random_seed(seed)
    model = Sequential(
        [
            layers.Input((8, 8, 1)), layers.Rescaling(1 / 255),
            layers.Conv2D(16, 3, padding="same", activation="relu"), layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"), layers.Flatten(),
            layers.Dense(10, "softmax"),
        ]
    )  # fmt: skip
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    batches = Dataset(x, y).shuffle(seed).batch(BATCH)
    if policy is not None:
        batches = batches.map(layers.AutoAugment(policy, choose="batch", interpolation="bilinear", seed=seed))
    model.fit(batches, epochs=epochs, verbose=0)
    return float(model.evaluate(x_test, y_test, verbose=0)[1])


def main() -> None:
    (x, y), (x_test, y_test) = datasets.digits.load_data()
    x, y = np.concatenate([x, x_test]).reshape(-1, 8, 8, 1) * (255.0 / 16.0), np.concatenate([y, y_test])
    order = np.random.default_rng(0).permutation(len(x))
    train, valid, test = np.split(order, [TRAIN, TRAIN + VALID])
    search = [(x[train].astype("float32"), y[train]), (x[valid].astype("float32"), y[valid])]
    final = [search[0], (x[test].astype("float32"), y[test])]

    begin, controller = time.perf_counter(), Controller(seed=1)
    found = []
    for child in (bar := tqdm(range(CHILDREN), "children")):
        decisions = controller.draw()
        reward = accuracy(policy_of(decisions), search, CHILD_EPOCHS, seed=child % 3)
        controller.learn(decisions, reward)
        found.append((reward, policy_of(decisions)))
        bar.set_postfix(accuracy=f"{reward:.3f}", best=f"{max(each[0] for each in found):.3f}")
    found.sort(key=lambda pair: -pair[0])
    policy = [steps for _, best in found[:5] for steps in best]  # the five best, one behind the other

    without = [accuracy(None, final, FINAL_EPOCHS, seed) for seed in SEEDS]
    best = [accuracy(policy, final, FINAL_EPOCHS, seed) for seed in SEEDS]
    most = np.mean(controller.shares()[0], (0, 1))
    print("operations that the controller prefers:", ", ".join(OPERATIONS[i] for i in np.argsort(-most)[:5]))
    for steps in found[0][1]:
        print("  ", " then ".join(f"{name} (p {p:.1f}, magnitude {m})" for name, p, m in steps))
    print(
        f"accuracy on {len(test)} test digits: {np.mean(without):.4f} without, {np.mean(best):.4f} with the policy"
    )
    seconds = time.perf_counter() - begin
    print(f"(n={len(SEEDS)}, deviations {np.std(without):.4f} and {np.std(best):.4f}); {seconds:.0f} s")


if __name__ == "__main__":
    main()
