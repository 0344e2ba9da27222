"""Ten steps of training give what PyTorch gives, step by step."""

import numpy as np
import pytest

import fastcnn as keras
from fastcnn import layers

pytestmark = pytest.mark.peer

STEPS = 10
BATCH = 16


def our_model(optimizer):
    model = keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            layers.Conv2D(8, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9, epsilon=1e-5),
            layers.ReLU(),
            layers.MaxPooling2D(2),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.Conv2D(12, 3, strides=2, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5),
        ]
    )
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def their_model(torch, model):
    """The same network in PyTorch with the same weights."""
    nn = torch.nn
    twin = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 12, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5),
    )  # fmt: skip
    ours = [torch.from_numpy(w) for w in model.get_weights()]
    kernel, gamma, beta, _, _, depthwise, depthwise_bias, second, second_bias, dense, dense_bias = ours
    values = [
        kernel.permute(3, 2, 0, 1), gamma, beta, depthwise.permute(2, 3, 0, 1), depthwise_bias,
        second.permute(3, 2, 0, 1), second_bias, dense.T, dense_bias,
    ]  # fmt: skip
    with torch.no_grad():
        for parameter, value in zip(twin.parameters(), values, strict=True):
            parameter.copy_(value)
    return twin


OPTIMIZERS = [
    pytest.param(
        lambda: keras.optimizers.SGD(0.05, momentum=0.9),
        lambda torch, p: torch.optim.SGD(p, 0.05, momentum=0.9),
        id="momentum",
    ),
    pytest.param(
        lambda: keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
        lambda torch, p: torch.optim.SGD(p, 0.05, momentum=0.9, nesterov=True),
        id="nesterov",
    ),
    pytest.param(
        lambda: keras.optimizers.Adam(0.003, epsilon=1e-8),
        lambda torch, p: torch.optim.Adam(p, 0.003, eps=1e-8),
        id="adam",
    ),
    pytest.param(
        lambda: keras.optimizers.AdamW(0.003, weight_decay=0.1, epsilon=1e-8),
        lambda torch, p: torch.optim.AdamW(p, 0.003, weight_decay=0.1, eps=1e-8),
        id="adamw",
    ),
]


@pytest.mark.parametrize(("ours", "theirs"), OPTIMIZERS)
def test_ten_steps(ours, theirs):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    x = rng.normal(size=(STEPS, BATCH, 12, 10, 3)).astype("float32")
    y = rng.integers(0, 5, (STEPS, BATCH))
    model = our_model(ours())
    twin = their_model(torch, model)
    optimizer = theirs(torch, twin.parameters())
    for step in range(STEPS):
        model.reset_metrics()
        loss = model.train_on_batch(x[step], y[step])
        optimizer.zero_grad()
        images = torch.from_numpy(x[step].transpose(0, 3, 1, 2).copy())
        expected = torch.nn.functional.cross_entropy(twin(images), torch.from_numpy(y[step]))
        expected.backward()
        optimizer.step()
        assert loss == pytest.approx(expected.item(), rel=1e-4), f"step {step}"
    last = list(twin.parameters())[-2].detach().numpy().T
    np.testing.assert_allclose(model.get_weights()[-2], last, rtol=0, atol=1e-3 * np.abs(last).max())
