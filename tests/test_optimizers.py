"""Steps of every optimizer against hand-written ones, the options they share, and their state."""

import inspect

import numpy as np
import pytest
import reference

import fastcnn
from fastcnn import Error, layers, ops, optimizers
from fastcnn.constraints import MaxNorm, NonNeg
from fastcnn.graph import gradients
from fastcnn.plan import Function
from fastcnn.registry import deserialize, serialize
from fastcnn.tensor import Variable

SHAPES = [(3, 5), (5,), (2, 3, 1, 4)]
ADAPTIVE = [
    optimizers.Adagrad, optimizers.Adadelta, optimizers.RMSprop, optimizers.Adam, optimizers.AdamW,
    optimizers.Adamax, optimizers.Nadam,
]  # fmt: skip
COMPOSED = [optimizers.Adafactor, optimizers.Ftrl, optimizers.Lamb, optimizers.Muon]
CLASSES = [optimizers.SGD, optimizers.Lion, *ADAPTIVE, *COMPOSED]

# id: class, its arguments, the reference rule, the rule's arguments where they are called otherwise
CASES = {
    "sgd": (optimizers.SGD, {}, reference.sgd),
    "sgd, momentum": (optimizers.SGD, {"momentum": 0.9}, reference.sgd),
    "sgd, nesterov": (optimizers.SGD, {"momentum": 0.8, "nesterov": True}, reference.sgd),
    "rmsprop": (optimizers.RMSprop, {"rho": 0.8}, reference.rmsprop),
    "rmsprop, momentum": (optimizers.RMSprop, {"momentum": 0.5}, reference.rmsprop),
    "rmsprop, centered": (optimizers.RMSprop, {"centered": True, "momentum": 0.5}, reference.rmsprop),
    "rmsprop, centered without momentum": (optimizers.RMSprop, {"centered": True}, reference.rmsprop),
    "adam": (optimizers.Adam, {"beta_1": 0.8, "epsilon": 1e-4}, reference.adam),
    "adam, amsgrad": (optimizers.Adam, {"amsgrad": True, "beta_2": 0.7}, reference.adam),
    "adamw": (optimizers.AdamW, {"weight_decay": 0.1}, reference.adam),
    "adamw, amsgrad": (optimizers.AdamW, {"amsgrad": True}, reference.adam),
    "adagrad": (optimizers.Adagrad, {"initial_accumulator_value": 0.3}, reference.adagrad),
    "adadelta": (optimizers.Adadelta, {"rho": 0.7, "epsilon": 1e-3}, reference.adadelta),
    "adamax": (optimizers.Adamax, {"beta_2": 0.6}, reference.adamax),
    "nadam": (optimizers.Nadam, {}, reference.nadam),
    "lion": (optimizers.Lion, {"beta_1": 0.7}, reference.lion),
    "lamb": (optimizers.Lamb, {"beta_2": 0.9}, reference.lamb),
    "adafactor": (optimizers.Adafactor, {}, reference.adafactor),
    "adafactor, clipped": (
        optimizers.Adafactor,
        {"clip_threshold": 0.3, "epsilon_2": 2.0},
        reference.adafactor,
    ),
    "ftrl": (optimizers.Ftrl, {"beta": 0.4, "l2_shrinkage_regularization_strength": 0.1}, reference.ftrl),
    "ftrl, l1": (
        optimizers.Ftrl,
        {"learning_rate_power": -0.8, "l1_regularization_strength": 3.0, "l2_regularization_strength": 0.2},
        reference.ftrl,
    ),
    "muon": (optimizers.Muon, {"adam_lr_ratio": 0.5}, reference.muon),
    "muon, plain": (
        optimizers.Muon,
        {"nesterov": False, "rms_rate": None, "ns_steps": 3, "weight_decay": 0.1, "adam_weight_decay": 0.1},
        reference.muon,
    ),
}


def make_variables(dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    return [Variable(rng.normal(size=shape), dtype, name=f"v{i}") for i, shape in enumerate(SHAPES)]


def make_gradients(steps, seed=1):
    rng = np.random.default_rng(seed)
    return [[rng.normal(size=shape) * 3 for shape in SHAPES] for _ in range(steps)]


def take_steps(optimizer, variables, steps):
    for grads in steps:
        optimizer.apply_gradients(zip(grads, variables, strict=True))


def expected_steps(rule, weights, steps, rates, **arguments):
    """Weights after each step."""
    weights, states, seen = [reference.float64(w) for w in weights], [{} for _ in weights], []
    for step, (grads, rate) in enumerate(zip(steps, rates, strict=True), 1):
        weights, states = reference.optimizer_step(rule, weights, grads, states, step, rate, **arguments)
        seen.append(weights)
    return seen


def rule_arguments(optimizer, rule):
    """What the reference needs to do as the optimizer does."""
    shared = ("weight_decay", "clipnorm", "clipvalue", "global_clipnorm")
    names = [*shared, *list(inspect.signature(rule).parameters)[5:]]
    return {name: getattr(optimizer, name) for name in names if hasattr(optimizer, name)}


def assert_near(variables, expected, dtype):
    for variable, wanted in zip(variables, expected, strict=True):
        tolerance = 100 * np.finfo(dtype).eps  # five steps of some ten operations, each rounding once
        np.testing.assert_allclose(variable.value, wanted, rtol=tolerance, atol=tolerance)


def check_against_reference(optimizer, rule, dtype="float64", rates=None):
    variables, steps = make_variables(dtype), make_gradients(5)
    rates = rates or [optimizer.learning_rate] * 5
    wanted = expected_steps(
        rule, [v.value for v in variables], steps, rates, **rule_arguments(optimizer, rule)
    )
    for grads, after in zip(steps, wanted, strict=True):
        optimizer.apply_gradients(zip(grads, variables, strict=True))
        assert_near(variables, after, dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", CASES)
def test_five_steps(case, dtype):
    cls, arguments, rule = CASES[case]
    check_against_reference(cls(0.05, **arguments), rule, dtype)


@pytest.mark.parametrize(
    "options",
    [{"weight_decay": 0.2}, {"clipnorm": 1.5}, {"clipvalue": 0.7}, {"global_clipnorm": 2.5},
     {"weight_decay": 0.1, "global_clipnorm": 1.0}, {"clipnorm": 1e6}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("case", ["sgd", "adam", "lion"])
def test_clipping_and_decay(case, options):
    cls, arguments, rule = CASES[case]
    check_against_reference(cls(0.05, **arguments, **options), rule)


def test_a_gradient_of_nan_is_not_hidden_by_clipping():
    for option in ("clipnorm", "global_clipnorm", "clipvalue"):
        (variable, *_), optimizer = make_variables(), optimizers.SGD(**{option: 1.0})
        grad = np.full(variable.shape, np.nan)
        optimizer.apply_gradients([(grad, variable)])
        assert np.isnan(variable.value).all(), option


def test_defaults_are_those_of_keras():
    def defaults(cls):
        return {
            n: p.default for n, p in inspect.signature(cls).parameters.items() if p.kind is not p.VAR_KEYWORD
        }

    assert defaults(optimizers.SGD) == {"learning_rate": 0.01, "momentum": 0.0, "nesterov": False}
    adam = {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
    assert defaults(optimizers.Adam) == {**adam, "amsgrad": False}
    assert list(defaults(optimizers.AdamW).items())[:2] == [("learning_rate", 0.001), ("weight_decay", 0.004)]
    assert defaults(optimizers.Adamax) == defaults(optimizers.Nadam) == adam
    assert defaults(optimizers.RMSprop) == {
        "learning_rate": 0.001, "rho": 0.9, "momentum": 0.0, "epsilon": 1e-7, "centered": False,
    }  # fmt: skip
    assert defaults(optimizers.Adagrad) == {
        "learning_rate": 0.001, "initial_accumulator_value": 0.1, "epsilon": 1e-7,
    }  # fmt: skip
    assert defaults(optimizers.Adadelta) == {"learning_rate": 0.001, "rho": 0.95, "epsilon": 1e-7}
    assert defaults(optimizers.Lion) == {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.99}
    assert defaults(optimizers.Lamb) == adam
    assert defaults(optimizers.Adafactor) == {
        "learning_rate": 0.001, "beta_2_decay": -0.8, "epsilon_1": 1e-30, "epsilon_2": 1e-3, "clip_threshold": 1.0,
        "relative_step": True,
    }  # fmt: skip


# --- learning rate -------------------------------------------------------------------------------------------


def test_a_number_set_counts_from_the_next_step():
    optimizer, variables, steps = optimizers.Adam(0.1), make_variables(), make_gradients(4)
    rates = [0.1, 0.05, 0.05, 0.2]
    wanted = expected_steps(reference.adam, [v.value for v in variables], steps, rates)
    for grads, rate, after in zip(steps, rates, wanted, strict=True):
        optimizer.learning_rate = rate
        optimizer.apply_gradients(zip(grads, variables, strict=True))
        assert_near(variables, after, "float64")
    assert optimizer.learning_rate == 0.2


def test_the_number_of_updates_is_a_number_with_numpy():
    optimizer = optimizers.SGD(0.1)
    variable = Variable(np.zeros(2))
    optimizer.apply([np.ones(2)], [variable])
    assert optimizer.iterations == 1 == optimizer.iterations.numpy() and optimizer.iterations + 1 == 2


@pytest.mark.parametrize("weight_decay", [None, 0.3])
def test_a_schedule_counts_iterations(weight_decay):
    schedule = optimizers.schedules.ExponentialDecay(0.1, 2, 0.5, staircase=True)
    optimizer = optimizers.SGD(schedule, momentum=0.9, weight_decay=weight_decay)
    check_against_reference(optimizer, reference.sgd, rates=[0.1, 0.1, 0.05, 0.05, 0.025])
    assert optimizer.iterations == 5
    assert optimizer.learning_rate == schedule(5)


def test_a_schedule_cannot_be_overwritten_by_a_number():
    optimizer = optimizers.SGD(optimizers.schedules.CosineDecay(0.1, 10))
    with pytest.raises(Error, match="follows a CosineDecay, so it cannot be set to 0.5; make"):
        optimizer.learning_rate = 0.5
    optimizer.learning_rate = optimizers.schedules.PolynomialDecay(0.2, 10)
    assert optimizer.learning_rate == 0.2


def test_a_function_gives_the_rate():
    check_against_reference(optimizers.SGD(lambda: 0.25), reference.sgd, rates=[0.25] * 5)
    rates = [0.5, 0.25, 0.125, 0.0625, 0.03125]
    check_against_reference(optimizers.SGD(lambda step: 0.5 ** (step + 1)), reference.sgd, rates=rates)


@pytest.mark.parametrize("rate", [-1.0, float("nan"), "fast", None, True])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(Error, match="SGD: learning_rate must be a number of at least 0"):
        optimizers.SGD(rate)


# --- averages and accumulation -------------------------------------------------------------------------------


def test_averages_of_the_weights():
    optimizer = optimizers.SGD(0.1, use_ema=True, ema_momentum=0.8)
    variables, steps = make_variables(), make_gradients(4)
    wanted = expected_steps(reference.sgd, [v.value for v in variables], steps, [0.1] * 4)
    averages = [v.value.copy() for v in variables]
    for number, (grads, after) in enumerate(zip(steps, wanted, strict=True), 1):
        optimizer.apply_gradients(zip(grads, variables, strict=True))
        averages = [
            reference.average_weights(a, w, number, 0.8) for a, w in zip(averages, after, strict=True)
        ]
        assert_near(variables, after, "float64")
    optimizer.finalize_variable_values(variables)
    assert_near(variables, averages, "float64")


def test_averages_replace_the_weights_every_few_updates():
    optimizer = optimizers.SGD(0.1, use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=2)
    (variable, *_), steps = make_variables(), make_gradients(2)
    start = variable.value.copy()
    first, second = (grads[0] for grads in steps)
    optimizer.apply_gradients([(first, variable)])
    np.testing.assert_allclose(variable.value, start - 0.1 * first)
    optimizer.apply_gradients([(second, variable)])
    after = start - 0.1 * first - 0.1 * second
    np.testing.assert_allclose(variable.value, 0.8 * (start - 0.1 * first) + 0.2 * after)


def test_finalize_without_averages_changes_nothing():
    (variable, *_), optimizer = make_variables(), optimizers.SGD()
    before = variable.numpy()
    optimizer.finalize_variable_values([variable])
    np.testing.assert_array_equal(variable.value, before)


@pytest.mark.parametrize("options", [{}, {"use_ema": True}, {"clipnorm": 0.5, "weight_decay": 0.1}], ids=str)
def test_accumulated_gradients_make_one_large_batch(options):
    steps = make_gradients(6)
    small, large = make_variables(), make_variables()
    accumulating = optimizers.Adam(0.1, gradient_accumulation_steps=3, **options)
    take_steps(accumulating, small, steps)
    means = [[np.mean(part, axis=0) for part in zip(*steps[i : i + 3], strict=True)] for i in (0, 3)]
    usual = optimizers.Adam(0.1, **options)
    take_steps(usual, large, means)
    for optimizer, variables in ((accumulating, small), (usual, large)):
        optimizer.finalize_variable_values(variables)
    assert accumulating.iterations == usual.iterations == 2
    assert_near(small, [v.value for v in large], "float64")


def test_nothing_moves_while_gradients_accumulate():
    optimizer, variables = (
        optimizers.SGD(0.1, weight_decay=0.1, gradient_accumulation_steps=3),
        make_variables(),
    )
    start = [v.numpy() for v in variables]
    phases = []
    for grads in make_gradients(2):
        phases.append(optimizer.phase)
        optimizer.apply_gradients(zip(grads, variables, strict=True))
    assert phases == ["accumulate", "accumulate"] and optimizer.phase == "update"
    for variable, before in zip(variables, start, strict=True):
        np.testing.assert_array_equal(variable.value, before)


# --- what surrounds the step ---------------------------------------------------------------------------------


def test_constraints_hold_after_the_step():
    variables = make_variables()
    variables[0].constraint, variables[1].constraint = MaxNorm(0.5, axis=0), NonNeg()
    start = [v.numpy() for v in variables]
    grads = make_gradients(1)[0]
    optimizers.SGD(0.1).apply_gradients(zip(grads, variables, strict=True))
    free = [w - 0.1 * g for w, g in zip(start, grads, strict=True)]
    np.testing.assert_allclose(variables[0].value, MaxNorm(0.5, axis=0)(free[0]))
    np.testing.assert_allclose(variables[1].value, np.maximum(free[1], 0))
    np.testing.assert_allclose(variables[2].value, free[2])


def test_a_constraint_leaves_frozen_variables_alone():
    moved, frozen = make_variables()[:2]
    frozen.constraint = NonNeg()
    before, optimizer = frozen.numpy(), optimizers.SGD()
    optimizer.build([moved, frozen])
    optimizer.apply([np.ones(moved.shape), None], [moved, frozen])
    np.testing.assert_array_equal(frozen.value, before)


def test_weight_decay_spares_what_is_excluded():
    kernel, bias, gamma = (Variable(np.ones(4), "float64", name=name) for name in ("kernel", "bias", "gamma"))
    optimizer = optimizers.SGD(0.5, weight_decay=0.2)
    optimizer.exclude_from_weight_decay(var_list=[gamma], var_names=["bias"])
    zeros = np.zeros(4)
    optimizer.apply_gradients([(zeros, kernel), (zeros, bias), (zeros, gamma)])
    np.testing.assert_allclose(kernel.value, 0.9)
    np.testing.assert_array_equal([bias.value, gamma.value], np.ones((2, 4)))
    with pytest.raises(Error, match="before the first training step"):
        optimizer.exclude_from_weight_decay(var_names=["kernel"])

    again = deserialize("optimizer", serialize(optimizer))
    again.apply_gradients([(zeros, kernel), (zeros, bias), (zeros, gamma)])
    np.testing.assert_allclose(kernel.value, 0.81)
    np.testing.assert_array_equal([bias.value, gamma.value], np.ones((2, 4)))


def test_a_train_step_in_one_plan():
    """Gradients are those of the weights before the step, whatever the order in which updates are placed."""
    w, b = Variable(np.full(6, 0.5), "float64", name="w"), Variable(np.zeros(2), "float64", name="b")
    optimizer = optimizers.SGD(0.1, momentum=0.9)
    optimizer.build([w, b])

    def body(x, y):
        error = x @ ops.reshape(w, (3, 2)) + b - y  # an alias of w: w must not change before it has been read
        loss = (error * error) @ Variable(np.ones((2, 1)), "float64")
        optimizer.apply(gradients(loss, [w, b]), [w, b])
        return loss

    step = Function(body, training=True)
    rng = np.random.default_rng(3)
    weights, states = [w.numpy(), b.numpy()], [{}, {}]
    for number in range(1, 4):
        x, y = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
        optimizer.before_step()
        step(x, y, key=optimizer.phase)
        optimizer.after_step()
        error = x @ weights[0].reshape(3, 2) + weights[1] - y
        grads = [(2 * x.T @ error).ravel(), 2 * error.sum(0)]
        weights, states = reference.optimizer_step(
            reference.sgd, weights, grads, states, number, 0.1, momentum=0.9
        )
        assert_near([w, b], weights, "float64")


def test_new_variables_keep_old_slots():
    first, second = make_variables()[:2]
    grads = [g[:2] for g in make_gradients(3)]
    optimizer = optimizers.SGD(0.1, momentum=0.9)
    optimizer.apply_gradients([(grads[0][1], second)])
    momentum = optimizer.slot(second, "momentum").numpy()
    optimizer.build([first, second])  # as when a layer is unfrozen
    np.testing.assert_array_equal(optimizer.slot(second, "momentum").value, momentum)
    start = second.numpy()
    optimizer.apply_gradients(zip(grads[1], (first, second), strict=True))
    np.testing.assert_allclose(second.value, start + 0.9 * momentum - 0.1 * grads[1][1])


# --- state and configuration ---------------------------------------------------------------------------------


def state_of(optimizer, names):
    return {name: variable.numpy() for name, variable in optimizer.named_state(names).items()}


@pytest.mark.parametrize("options", [{}, {"use_ema": True, "gradient_accumulation_steps": 2}], ids=str)
@pytest.mark.parametrize("case", CASES)
def test_resumed_training_is_the_same_bit_for_bit(case, options):
    cls, arguments, _ = CASES[case]
    steps = make_gradients(7)
    through, resumed = make_variables("float32"), make_variables("float32")
    optimizer = cls(0.05, **arguments, **options)
    take_steps(optimizer, through, steps[:3])
    for variable, saved in zip(resumed, through, strict=True):
        variable.assign(saved.value)
    names = {v.name: v for v in through}
    again = deserialize("optimizer", serialize(optimizer))
    again.restore({v.name: v for v in resumed}, state_of(optimizer, names), optimizer.batches)
    take_steps(optimizer, through, steps[3:])
    take_steps(again, resumed, steps[3:])
    assert again.iterations == optimizer.iterations
    for a, b in zip(through, resumed, strict=True):
        np.testing.assert_array_equal(a.value, b.value)
    for name, value in state_of(optimizer, names).items():
        np.testing.assert_array_equal(value, state_of(again, {v.name: v for v in resumed})[name])


def test_state_is_named_by_variable_and_slot():
    optimizer, variables = optimizers.Adam(use_ema=True), make_variables()
    optimizer.build(variables)
    names = set(optimizer.named_state({"layers/conv2d/kernel": variables[0]}))
    assert names == {f"layers/conv2d/kernel/{slot}" for slot in ("momentum", "velocity", "average")}


def test_state_that_does_not_fit_is_refused():
    optimizer, variables = optimizers.Adam(), make_variables()
    names = {"v0": variables[0], "v1": variables[1]}
    arrays = {"kernel/momentum": np.zeros(3), "v0/momentum": np.zeros(3), "v0/velocity": np.zeros(SHAPES[0])}
    with pytest.raises(Error) as caught:
        optimizer.restore(names, {**arrays, "v1/velocity": np.zeros(5)}, 1)
    for problem in ("kernel/momentum belongs to no", "v0/momentum has shape (3,)", "v1/momentum is missing"):
        assert problem in str(caught.value)


@pytest.mark.parametrize("cls", CLASSES)
def test_configuration_round_trip(cls):
    optimizer = cls(0.3, clipnorm=2.0, use_ema=True, ema_momentum=0.5, name="mine")
    optimizer.learning_rate = 0.1
    again = deserialize("optimizer", serialize(optimizer))
    assert type(again) is cls and again.get_config() == optimizer.get_config()
    assert (again.learning_rate, again.clipnorm, again.use_ema, again.name) == (0.1, 2.0, True, "mine")


def test_a_schedule_survives_the_round_trip():
    optimizer = optimizers.Adam(optimizers.schedules.CosineDecay(0.1, 100, warmup_target=0.2, warmup_steps=5))
    again = deserialize("optimizer", serialize(optimizer))
    assert again.get_config() == {**optimizer.get_config(), "name": again.name}
    assert again.learning_rate == 0.1


# --- loops of one's own -----------------------------------------------------------------------------------------


def test_a_scaled_loss_is_scaled_back_by_apply():
    plain, scaled = optimizers.SGD(0.5), optimizers.SGD(0.5, loss_scale_factor=8.0)
    weights = [Variable(np.ones(2)) for _ in range(2)]
    plain.apply([np.full(2, 0.25)], weights[:1])
    scaled.apply([scaled.scale_loss(np.full(2, 0.25))], weights[1:])
    np.testing.assert_array_equal(weights[0].numpy(), weights[1].numpy())


@pytest.mark.parametrize("scales", [True, False])
def test_a_trace_scales_back_what_it_has_scaled(scales):
    variable, optimizer = Variable(np.ones(2), "float64"), optimizers.SGD(0.5, loss_scale_factor=8.0)

    def step():
        loss = ops.sum(variable * 3.0)
        loss = optimizer.scale_loss(loss) if scales else loss
        optimizer.apply(gradients(loss, [variable]), [variable])
        return loss

    optimizer.build([variable])
    optimizer.before_step()
    Function(step, training=True)()
    optimizer.after_step()
    np.testing.assert_allclose(variable.numpy(), 1 - 0.5 * 3.0)


def test_apply_needs_variables_once():
    with pytest.raises(Error, match=r"call build\(variables\) first"):
        optimizers.SGD(0.5).apply([np.ones(2)])


def test_own_variables_go_to_another_optimizer():
    grads = make_gradients(4)
    variables = [make_variables(), make_variables()]
    first, second = optimizers.Adam(0.05), optimizers.Adam(0.05)
    take_steps(first, variables[0], grads[:2])
    store = {}
    first.save_own_variables(store)
    second.build(variables[1])
    second.load_own_variables(store)
    for a, b in zip(*variables, strict=True):
        b.assign(a.numpy())
    for optimizer, weights in zip((first, second), variables, strict=True):
        take_steps(optimizer, weights, grads[2:])
    for a, b in zip(*variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    with pytest.raises(Error, match="set_weights got arrays of shapes"):
        second.set_weights([np.zeros(3)])


def test_several_slots_at_once():
    optimizer, variables = optimizers.SGD(), make_variables()
    zeros, ones = optimizer.add_optimizer_variables(variables, ["a", "b"], ["zeros", "ones"])
    assert [v.numpy().mean() for v in zeros] == [0, 0, 0] and [v.numpy().mean() for v in ones] == [1, 1, 1]
    with pytest.raises(Error, match="1 initializers for 2 names"):
        optimizer.add_optimizer_variables(variables, ["a", "b"], ["zeros"])


def test_averages_and_weights_change_places():
    optimizer, variables = optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5), make_variables()
    take_steps(optimizer, variables, make_gradients(3))
    weights, averages = (
        [v.numpy() for v in variables],
        [optimizer.slot(v, "average").numpy() for v in variables],
    )
    optimizer.swap_averages()
    for variable, weight, average in zip(variables, weights, averages, strict=True):
        np.testing.assert_array_equal(variable.numpy(), average)
        np.testing.assert_array_equal(optimizer.slot(variable, "average").numpy(), weight)
    optimizer.restart_averages()
    for variable in variables:
        np.testing.assert_array_equal(optimizer.slot(variable, "average").numpy(), variable.numpy())


def test_loss_scale_optimizer_in_fit_is_its_inner_optimizer(tmp_path):
    x, y = np.random.rand(8, 3), np.random.rand(8, 1)
    weights = []
    for wrap in (lambda inner: inner, optimizers.LossScaleOptimizer):
        model = fastcnn.Sequential([fastcnn.Input((3,)), layers.Dense(1, kernel_initializer="ones")])
        model.compile(wrap(optimizers.Adam(0.1)), "mse")
        model.fit(x, y, epochs=2, batch_size=4, shuffle=False, verbose=0)
        model.save(tmp_path / "model.safetensors")
        again = fastcnn.models.load_model(tmp_path / "model.safetensors")
        for each in (model, again):
            each.fit(x, y, batch_size=4, shuffle=False, verbose=0)
            weights.append(each.get_weights())
    for others in weights[1:]:
        for a, b in zip(weights[0], others, strict=True):
            np.testing.assert_array_equal(a, b)
    assert type(again.optimizer) is optimizers.LossScaleOptimizer and again.optimizer.iterations == 6
    again.optimizer.learning_rate = 0.5
    assert float(again.optimizer.inner_optimizer.learning_rate) == 0.5


def test_absent_methods_say_so():
    with pytest.raises(AttributeError, match="fastcnn.optimizers has no 'Adammax'; did you mean 'Adamax'"):
        _ = optimizers.Adammax


# --- names and arguments -------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", CLASSES)
def test_get_by_name(cls):
    for spelling in (cls.__name__, cls.__name__.lower(), cls.__name__.upper()):
        assert type(optimizers.get(spelling)) is cls
    assert type(optimizers.get(cls)) is cls
    assert type(optimizers.get({"class_name": cls.__name__, "config": {}})) is cls
    optimizer = cls()
    assert optimizers.get(optimizer) is optimizer


def test_names_nobody_knows():
    with pytest.raises(Error, match="unknown optimizer 'adamm'; did you mean 'Adam'"):
        optimizers.get("adamm")
    with pytest.raises(Error, match="expected an optimizer"):
        optimizers.get(len)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: optimizers.Adam(lr=0.1),
            "Adam: there is no argument 'lr'; the argument is called learning_rate",
        ),
        (lambda: optimizers.SGD(decay=1e-6), "InverseTimeDecay"),
        (lambda: optimizers.SGD(moment=0.9), "there is no argument 'moment'"),
        (
            lambda: optimizers.SGD(clipnorm=1.0, clipvalue=0.5),
            "clipnorm=1.0 and clipvalue=0.5 exclude each other",
        ),
        (lambda: optimizers.SGD(clipnorm=-1), "clipnorm must be None or a number above 0, got -1"),
        (lambda: optimizers.SGD(momentum=1.5), r"momentum must lie in \[0, 1\], got 1.5"),
        (lambda: optimizers.Adam(beta_1=1.0), "beta_1 must be below 1"),
        (lambda: optimizers.AdamW(weight_decay=None), "weight_decay"),
        (lambda: optimizers.SGD(gradient_accumulation_steps=1), "an integer of at least 2, got 1"),
        (lambda: optimizers.SGD(use_ema=True, ema_momentum=2), r"ema_momentum must lie in \[0, 1\]"),
        (lambda: optimizers.SGD(use_ema=True, ema_overwrite_frequency=0.5), "ema_overwrite_frequency"),
        (lambda: optimizers.Lion(beta_1=0.0), "beta_1"),
        (
            lambda: optimizers.Ftrl(learning_rate_power=0.5),
            "learning_rate_power must be a number of at most 0",
        ),
        (lambda: optimizers.Adafactor(beta_2_decay=1), "beta_2_decay must be a number of at most 0"),
        (lambda: optimizers.LossScaleOptimizer("adam"), "inner_optimizer must be an optimizer, got 'adam'"),
    ],
)
def test_arguments_that_cannot_work(make, message):
    with pytest.raises(Error, match=message):
        make()


def test_schedules_are_importable_as_in_keras():
    import fastcnn.optimizers.schedules as module
    from fastcnn.optimizers.schedules import ExponentialDecay

    assert module is optimizers.schedules and ExponentialDecay is module.ExponentialDecay


# --- in a model ----------------------------------------------------------------------------------------------


def make_model(optimizer):
    fastcnn.utils.set_random_seed(3)
    model = fastcnn.Sequential([layers.Input((5,)), layers.Dense(4, activation="tanh"), layers.Dense(2)])
    model.compile(optimizer, loss="mse")
    return model


def regression_data():
    rng = np.random.default_rng(4)
    return rng.normal(size=(12, 5)).astype("float32"), rng.normal(size=(12, 2)).astype("float32")


def test_accumulation_in_fit():
    """Batches of 4, updated by every third, are the full batch."""
    x, y = regression_data()
    small = make_model(optimizers.SGD(0.1, momentum=0.9, gradient_accumulation_steps=3))
    small.fit(x, y, batch_size=4, epochs=4, shuffle=False, verbose=0)
    large = make_model(optimizers.SGD(0.1, momentum=0.9))
    large.fit(x, y, batch_size=12, epochs=4, shuffle=False, verbose=0)
    assert small.optimizer.iterations == large.optimizer.iterations == 4
    for a, b in zip(small.get_weights(), large.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_fit_ends_with_the_averages():
    x, y = regression_data()
    model = make_model(optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5))
    model.fit(x, y, batch_size=4, epochs=1, verbose=0)
    for variable in model.trainable_weights:
        np.testing.assert_array_equal(variable.value, model.optimizer.slot(variable, "average").value)


def test_a_saved_model_trains_on_bit_for_bit(tmp_path):
    x, y = regression_data()
    rate = optimizers.schedules.ExponentialDecay(0.1, 3, 0.5)
    options = {"gradient_accumulation_steps": 2, "use_ema": True, "weight_decay": 0.01}
    model = make_model(optimizers.Nadam(rate, **options))
    model.optimizer.exclude_from_weight_decay(var_names=["bias"])
    model.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0)  # stops between two updates
    assert model.optimizer.phase == "update"
    model.save(tmp_path / "model.safetensors")
    again = fastcnn.models.load_model(tmp_path / "model.safetensors")
    for each in (model, again):
        each.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


# --- methods of the user -------------------------------------------------------------------------------------


class HeavyBall(optimizers.Optimizer):
    """Written as for Keras: slots made in `build`, found by the variable's index."""

    def __init__(self, learning_rate=0.01, momentum=0.9, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.momentum = momentum

    def build(self, variables):
        super().build(variables)
        self.momentums = self.add_optimizer_variables(variables, "momentum")

    def update_step(self, gradient, variable, learning_rate):
        m = self.momentums[self._get_variable_index(variable)]
        self.assign(m, m * self.momentum - gradient * learning_rate)
        self.assign_add(variable, m)  # reads what was just assigned


class Slowing(optimizers.Optimizer):
    """Reads the number of updates; has an array of its own."""

    def update_step(self, gradient, variable, learning_rate):
        count = self.add_variable((1,), name="count")
        self.assign_add(count, 1.0)
        self.assign_sub(variable, gradient * learning_rate / (self.iterations + 1.0))


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1, "clipvalue": 0.5}], ids=str)
def test_a_method_of_the_user(options):
    check_against_reference(HeavyBall(0.1, **options), reference.sgd)


def test_a_method_that_depends_on_time():
    optimizer, (variable, *_), steps = Slowing(0.5), make_variables("float32"), make_gradients(3)
    wanted = variable.value.astype(float)
    for number, grads in enumerate(steps, 1):
        optimizer.apply_gradients([(grads[0], variable)])
        wanted = wanted - grads[0] * 0.5 / number
    np.testing.assert_allclose(variable.value, wanted, rtol=1e-5, atol=1e-6)
    assert optimizer.add_variable((1,), name="count").value == 3
    state = state_of(optimizer, {"v0": variable})
    again = Slowing(0.5)
    again.restore({"v0": variable}, state, optimizer.batches)
    assert again.add_variable((1,), name="count").value == 3


def test_a_method_without_update_step():
    with pytest.raises(Error, match="Empty must define update_step"):
        type("Empty", (optimizers.Optimizer,), {})().apply_gradients([(np.ones(3), Variable(np.ones(3)))])


# --- against Keras -------------------------------------------------------------------------------------------


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(
    "options",
    [{}, {"clipnorm": 1.0, "weight_decay": 0.1}, {"global_clipnorm": 1.0, "gradient_accumulation_steps": 2},
     {"clipvalue": 0.5, "use_ema": True, "ema_momentum": 0.8, "ema_overwrite_frequency": 2}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("case", CASES)
def test_steps_against_keras(case, options, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    cls, arguments, _ = CASES[case]
    both = [
        getattr(module.optimizers, cls.__name__)(0.05, **{**options, **arguments})
        for module in (fastcnn, keras)
    ]
    variables = make_variables("float32")
    theirs = [keras.Variable(v.numpy(), name=v.name) for v in variables]
    for grads in make_gradients(5):
        both[0].apply_gradients(zip(grads, variables, strict=True))
        tensors = [keras.ops.convert_to_tensor(g.astype("float32")) for g in grads]
        both[1].apply_gradients(zip(tensors, theirs, strict=True))
    for optimizer, weights in zip(both, (variables, theirs), strict=True):
        optimizer.finalize_variable_values(weights)
    for a, b in zip(variables, theirs, strict=True):
        np.testing.assert_allclose(a.value, keras.ops.convert_to_numpy(b), rtol=1e-4, atol=1e-5)
