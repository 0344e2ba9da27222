"""Whole steps of networks: as users run them, and the bare plan, which leaves Python and copies out."""

from functools import cache
from typing import Any

import numpy as np
import pytest

import fastcnn
from bench.measure import Meter
from bench.networks import NETWORKS
from fastcnn.data.arrays import as_batch
from fastcnn.plan import Plan

pytestmark = pytest.mark.benchmark(group="bench_model", warmup=True, warmup_iterations=1, max_time=2.0)
BATCH = 32
each_network = pytest.mark.parametrize("name", [name for name in NETWORKS if NETWORKS[name].classifies])


@cache
def compiled(name: str) -> fastcnn.Model:
    model = NETWORKS[name].make()
    loss = fastcnn.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=fastcnn.optimizers.Adam(1e-4), loss=loss)
    return model


def batch(measure: Meter, name: str) -> tuple[np.ndarray, np.ndarray]:
    return measure.normal(BATCH, *NETWORKS[name].image), measure.labels(10, BATCH)


def plan_of(model: fastcnn.Model, mode: str, *data: Any) -> Plan:
    """The plan of a step on these data, which has run once."""
    return model._step(mode).planned(as_batch(*data)).plan


@each_network
def bench_train_on_batch(measure: Meter, name: str) -> None:
    model, (x, y) = compiled(name), batch(measure, name)
    model.train_on_batch(x, y)
    measure.step(plan_of(model, "train", x, y), lambda: model.train_on_batch(x, y), BATCH)


@each_network
def bench_training_plan(measure: Meter, name: str) -> None:
    model, (x, y) = compiled(name), batch(measure, name)
    model.train_on_batch(x, y)
    plan = plan_of(model, "train", x, y)
    measure.step(plan, plan.run, BATCH)


@each_network
def bench_predict_on_batch(measure: Meter, name: str) -> None:
    model, (x, _) = compiled(name), batch(measure, name)
    model.predict_on_batch(x)
    measure.step(plan_of(model, "predict", x), lambda: model.predict_on_batch(x), BATCH)


@each_network
def bench_inference_plan(measure: Meter, name: str) -> None:
    model, (x, _) = compiled(name), batch(measure, name)
    model.predict_on_batch(x)
    plan = plan_of(model, "predict", x)
    measure.step(plan, plan.run, BATCH)


@each_network
def bench_one_image_plan(measure: Meter, name: str) -> None:
    """Latency."""
    model, (x, _) = compiled(name), batch(measure, name)
    model.predict_on_batch(x[:1])
    plan = plan_of(model, "predict", x[:1])
    measure.step(plan, plan.run, 1)
