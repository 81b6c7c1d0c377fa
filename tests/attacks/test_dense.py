"""Attacks within a ball: the ball to the last pixel, optima that are known, and each method against a plain loop."""

import pytest
import torch

from spikeflip import Budget, ReluNetwork, SpikeflipError, SpikingNetwork, load_images, load_victim
from spikeflip.attacks import ATTACKS, Verified, apgd, bim, choose_gradient, fgsm, loop, mi_fgsm, pgd, sa_pgd, scg
from spikeflip.attacks.apgd import APGD, checkpoints
from spikeflip.attacks.dense import project
from spikeflip.attacks.following import ENSEMBLE
from spikeflip.attacks.pgd import PGD
from spikeflip.snn.coding import encode, winner
from spikeflip.snn.gradients import GradientRequest
from spikeflip.streams import uniform

BALL = {"pgd": pgd, "mi-fgsm": mi_fgsm, "apgd": apgd, "sa-pgd": sa_pgd}
METRICS = [(name, metric) for name in BALL for metric in ("linf", "l2") if (name, metric) != ("sa-pgd", "l2")]


def linear(weights):
    """Logits ``W x``: a ReLU network of one layer."""
    network = ReluNetwork(f"{len(weights)}FC", (len(weights[0]),)).double()
    with torch.no_grad():
        network.weights[0].copy_(torch.tensor(weights).double())
    return network


def spiking(**options):
    return SpikingNetwork("12FC-3FC", (6,), time_steps=8, seed=3, **options)


IMAGES = 0.2 + 0.6 * torch.rand(6, 6, generator=torch.Generator().manual_seed(0))


def labels_of(victim, images=IMAGES, tie=0):
    seen = encode(images, (6,), victim.time_steps, coding=victim.coding, seed=0, samples=torch.arange(len(images)))
    found = winner(victim.scores(seen))
    return torch.where(found < 0, tie, found)


@pytest.mark.parametrize(("name", "metric"), METRICS)
@pytest.mark.parametrize("limit", [0.0, 0.03, 0.3, 2.0])
def test_every_image_stays_in_the_ball_and_the_range(name, metric, limit):
    victim = spiking()
    result = BALL[name](victim, IMAGES, labels_of(victim), steps=6, budget=Budget(limit, metric), restarts=2)
    change = (result.adversarials - IMAGES).flatten(1)
    size = change.abs().amax(1) if metric == "linf" else change.norm(dim=1)
    assert size.max() <= limit * (1 + 1e-6) + 1e-7
    assert result.adversarials.min() >= 0
    assert result.adversarials.max() <= 1
    assert not result.over_budget.any()
    if limit == 0:
        assert torch.equal(result.adversarials, IMAGES)
    elif limit == 0.03:
        assert (size[~result.already_wrong & ~result.success] > 0.5 * limit).all()


def nearest(victim, images, metric):
    """The class that a linear victim's images are nearest to, and how far they are from it.

    The smallest change that reaches class k moves along ``w_k - w_y``, by the margin over its dual norm.
    """
    logits, weights = victim.scores(images.unsqueeze(1)), victim.weights[0].detach()
    labels = logits.argmax(1)
    between = weights[None] - weights[labels][:, None]
    size = between.abs().sum(2) if metric == "linf" else between.norm(dim=2)
    least = (logits.gather(1, labels[:, None]) - logits) / size
    least[torch.arange(len(images)), labels] = torch.inf
    return labels, least.argmin(1), least.amin(1)


@pytest.mark.parametrize(("name", "metric"), METRICS)
@pytest.mark.parametrize(("classes", "loss"), [(2, "ce"), (2, "margin"), (4, "margin"), (4, "dlr")])
def test_the_optimum_of_a_linear_victim_is_found(name, metric, classes, loss):
    generator = torch.Generator().manual_seed(5)
    victim = linear(torch.randn(classes, 10, generator=generator).tolist())
    images = 0.4 + 0.2 * torch.rand(8, 10, generator=generator).double()
    labels, goals, least = nearest(victim, images, metric)
    for n in range(3):
        one = (victim, images[n : n + 1], labels[n : n + 1])
        options = {"loss": loss, "steps": 30}
        for targets in (goals[n : n + 1], None):
            below = BALL[name](*one, targets, budget=Budget(0.95 * float(least[n]), metric), **options)
            assert not below.success.any()
            if classes == 2:  # of several the gradient need not point to the nearest
                above = BALL[name](*one, targets, budget=Budget(1.25 * float(least[n]), metric), **options)
                assert above.success.all()


def plain_gradient(victim, x, label):
    leaf = x.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(victim.forward(leaf.unsqueeze(0)), label)
    loss.backward()
    return leaf.grad, float(loss)


def relu_victim():
    network = ReluNetwork("7FC-4FC", (5,), seed=2).double()
    x = torch.rand(5, generator=torch.Generator().manual_seed(1)).double()
    return network, x, network.forward(x.unsqueeze(0)).argmax(1)


def start_of(x, limit, scaled=False):
    numbers = 2 * uniform(0, torch.tensor([0]), "start", 0, x.shape)[0].to(x) - 1
    change = limit * numbers
    return (x + (limit * change / change.abs().max() if scaled else change)).clamp(0, 1)


def into(x, x0, limit):
    return torch.minimum(torch.maximum(x, x0 - limit), x0 + limit).clamp(0, 1)


def never(victim, x, label, **options):
    """Attack with a target of which the budget is too small, so that all steps are made."""
    return {"victim": victim, "inputs": x.unsqueeze(0), "labels": label, **options}


LIMIT, STEPS = 0.01, 30


def test_pgd_is_the_plain_loop():
    victim, x0, label = relu_victim()
    x = start_of(x0, LIMIT)
    for _ in range(STEPS):
        x = into(x + 2.5 * LIMIT / STEPS * plain_gradient(victim, x, label)[0].sign(), x0, LIMIT)
    found = pgd(**never(victim, x0, label), steps=STEPS, budget=LIMIT)
    assert not found.success.any()
    torch.testing.assert_close(found.adversarials[0], x, rtol=0, atol=1e-7)


def test_mi_fgsm_is_the_plain_loop():
    victim, x0, label = relu_victim()
    x, momentum = x0, 0
    for _ in range(STEPS):
        gradient = plain_gradient(victim, x, label)[0]
        momentum = 0.7 * momentum + gradient / gradient.abs().sum()
        x = into(x + LIMIT / STEPS * momentum.sign(), x0, LIMIT)
    found = mi_fgsm(**never(victim, x0, label), steps=STEPS, budget=LIMIT, decay=0.7)
    torch.testing.assert_close(found.adversarials[0], x, rtol=0, atol=1e-7)


def plain_checked(victim, x, label, step, first_size):
    """The schedule of APGD around any step: Croce and Hein, 2020, Algorithm 1 and Sec. 3.2."""
    marks, size, halved = [0, *checkpoints(STEPS)], 1.0, True
    best, best_loss, best_gradient, last, raised, loss_then = x, -1e9, None, -1e9, 0, -1e9
    sizes = []
    for k in range(STEPS):
        gradient, loss = plain_gradient(victim, x, label)
        raised += k > 0 and loss > last
        last = loss
        if k == 0 or loss > best_loss:
            best, best_loss, best_gradient = x, loss, gradient
        if k in marks[1:]:
            at = marks.index(k)
            halve = raised < 0.75 * (marks[at] - marks[at - 1]) or (not halved and best_loss <= loss_then)
            if halve:
                size, x, gradient = size / 2, best, best_gradient
            halved, raised, loss_then = halve, 0, best_loss
        sizes.append(size)
        x = step(k, x, gradient, size * first_size)
    return x, sizes


def test_apgd_is_the_plain_loop():
    victim, x0, label = relu_victim()
    before = {}

    def step(k, x, gradient, size):
        along = into(x + size * gradient.sign(), x0, LIMIT)
        new = along if k == 0 else into(x + 0.75 * (along - x) + 0.25 * (x - before["x"]), x0, LIMIT)
        before["x"] = x
        return new

    x, sizes = plain_checked(victim, start_of(x0, LIMIT), label, step, 2 * LIMIT)
    found = apgd(**never(victim, x0, label), steps=STEPS, budget=LIMIT)
    assert sizes[-1] <= 0.25
    torch.testing.assert_close(found.adversarials[0], x, rtol=0, atol=1e-7)


def plain_adaptive(x0):
    moments = {"m": 0, "v": 0}

    def step(_, x, gradient, size):
        moments["m"] = 0.5 * moments["m"] + gradient / gradient.abs().mean()
        moments["v"] = 0.8 * moments["v"] + gradient**2 / (gradient**2).mean()
        return into(x + (size * moments["m"] / moments["v"].sqrt()).clamp(-size, size), x0, LIMIT)

    return step


def test_sa_pgd_is_the_plain_loop():
    victim, x0, label = relu_victim()
    x, sizes = plain_checked(victim, start_of(x0, LIMIT, scaled=True), label, plain_adaptive(x0), LIMIT)
    found = sa_pgd(**never(victim, x0, label), steps=STEPS, budget=LIMIT)
    assert sizes[-1] < 1
    torch.testing.assert_close(found.adversarials[0], x, rtol=0, atol=1e-6)


def test_its_published_form_halves_after_fixed_shares_of_the_steps():
    victim, x0, label = relu_victim()
    x, step = start_of(x0, LIMIT, scaled=True), plain_adaptive(x0)
    for k in range(STEPS):
        size = LIMIT * 0.5 ** sum(k >= mark for mark in checkpoints(STEPS))
        x = step(k, x, plain_gradient(victim, x, label)[0], size)
    found = sa_pgd(**never(victim, x0, label), steps=STEPS, budget=LIMIT, published=True)
    torch.testing.assert_close(found.adversarials[0], x, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", BALL)
@pytest.mark.parametrize("published", [False, True])
def test_a_gradient_of_zero_makes_no_step_and_no_nan(name, published):
    options = {"published": published} if name == "sa-pgd" else {}
    victim, labels = linear([[1.0] * 6, [0.0] * 6]), torch.zeros(6).long()
    result = BALL[name](victim, IMAGES.double(), labels, steps=5, loss=flat, **options)
    assert torch.isfinite(result.adversarials).all()
    assert result.vanished.min() >= 5


def flat(scores, classes):
    """A loss without a gradient."""
    return scores.sum(1) * 0


def test_the_projections():
    originals = torch.tensor([[0.5, 0.5], [0.0, 1.0]])
    far = torch.tensor([[3.5, 4.5], [-1.0, 2.0]])
    assert project(far, originals, Budget(0.25, "linf")).tolist() == [[0.75, 0.75], [0.0, 1.0]]
    torch.testing.assert_close(project(far, originals, Budget(0.25, "l2"))[0], torch.tensor([0.65, 0.7]))
    near = torch.tensor([[0.6, 0.5], [0.0, 0.9]])
    assert torch.equal(project(near, originals, Budget(0.25, "l2")), near)
    assert torch.equal(project(near, originals, Budget(0.0, "l2")), originals)


def test_several_estimators_are_tried_on_what_still_stands():
    victim = spiking()
    labels = labels_of(victim)
    options = {"steps": 4, "budget": 0.05}
    alone = {name: pgd(victim, IMAGES, labels, gradient=name, trace=True, **options) for name in ("bptt", "rga")}
    both = pgd(victim, IMAGES, labels, gradient="bptt,rga", trace=True, **options)
    assert both.success.tolist() == (alone["bptt"].success | alone["rga"].success).tolist()
    first = alone["bptt"].success | alone["bptt"].already_wrong
    for n in range(6):
        of = alone["bptt" if first[n] else "rga"]
        assert torch.equal(both.adversarials[n], of.adversarials[n])
        assert both.prediction[n] == of.prediction[n]
        again = 0 if first[n] else alone["rga"].forwards[n]
        assert both.forwards[n] == alone["bptt"].forwards[n] + again
    assert both.trace.mover.shape == (6, 10)
    assert (both.trace.mover[first, 5:] == -1).all()
    assert not first.all()
    order = torch.tensor([4, 2, 0, 5, 3, 1])
    shuffled = pgd(victim, IMAGES[order], labels[order], gradient="bptt,rga", samples=order, micro_batch=2, **options)
    assert torch.equal(shuffled.adversarials, both.adversarials[order])
    assert PGD(gradient="ensemble").members == ENSEMBLE
    with pytest.raises(SpikeflipError, match=r"confidence is 0\.9, and of several estimators any success"):
        pgd(victim, IMAGES, labels, gradient="bptt,rga", stop=Verified(0.9), **options)


def test_progress_of_several_estimators_never_goes_back():
    victim, told = spiking(), []
    options = {"steps": 4, "budget": 0.05, "micro_batch": 2, "progress": lambda *part: told.append(part)}
    pgd(victim, IMAGES, labels_of(victim), gradient="bptt,rga", **options)
    assert told == sorted(told)
    assert told[-1] == (6, 6)
    assert len(set(told)) > 3


@pytest.mark.parametrize("encodings", [2, 5])
def test_a_gradient_may_be_the_mean_over_encodings(encodings):
    """The one that judged, and further ones of a purpose of their own."""
    victim, seen = spiking(), {}
    labels = labels_of(victim)

    def rule(step):
        seen[len(seen)] = step.gradient("ce", encodings=encodings).values.clone()
        return loop.Move(step.inputs, torch.zeros(len(step.inputs), dtype=torch.int8))

    loop.run(victim, IMAGES, labels, None, rule, steps=2, seed=7)
    for iteration in range(2):
        total = 0
        for number in range(encodings):
            purpose, moment = ("expect", iteration * 1024 + number) if number else ("encode", iteration)
            spikes = encode(IMAGES, (6,), 8, seed=7, samples=torch.arange(6), purpose=purpose, step=moment)
            request = GradientRequest()

            def of(scores, rows):
                return scores.softmax(1) - torch.nn.functional.one_hot(labels[rows], 3)

            total = total + victim.probe(spikes).input_gradient(of, request).values.clone()
        attacked = total[labels_of(victim, tie=-1) >= 0]
        torch.testing.assert_close(seen[iteration], attacked / encodings)


def test_further_encodings_are_counted_and_averaged_by_every_attack():
    victim = spiking()
    labels = labels_of(victim)
    for attack, options in ((bim, {}), (fgsm, {}), (pgd, {"budget": 0.01}), (scg, {"threshold": None})):
        one = attack(victim, IMAGES, labels, loss="ce", **options)
        many = attack(victim, IMAGES, labels, loss="ce", encodings=4, **options)
        assert (many.forwards == many.steps * 4 + 1).all()
        assert (one.forwards == one.steps + 1).all()
        assert (many.backwards >= 3 * many.steps).all()


def test_the_width_is_chosen_on_other_inputs(digit_victim, digits):
    images, labels, names = digits.images[:12], digits.labels[:12], ["hart:0.001", "straight-through", "bptt"]
    attack = PGD(steps=5, budget=Budget(0.15, "linf"))
    successes = [
        int(pgd(digit_victim, images, labels, steps=5, budget=0.15, gradient=name).success.sum()) for name in names
    ]
    assert successes[0] < max(successes)
    assert choose_gradient(attack, digit_victim, images, labels, names) == names[successes.index(max(successes))]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"budget": None}, "budget is None: give the size of the ball"),
        ({"budget": Budget(0.1, "mse")}, "budget is in mse, and this attack keeps to a ball in linf or l2: give that"),
        (
            {"gradient": "frob"},
            "gradient is 'frob': choose from bptt, rga, hart, pdsg, assg, windowed, ",
        ),
        ({"gradient": "bptt,frob"}, "gradient is 'frob': choose from"),
        ({"loss": "frob"}, "loss is 'frob': choose from mse, ce, margin, dlr"),
        ({"encodings": 0}, "encodings is 0: give a number in [1, 1"),
        ({"steps": 0}, "steps is 0: give a number in [1, 1e+06]"),
        ({"output_window": -1.0}, "output_window is -1.0: give a positive number"),
    ],
)
@pytest.mark.parametrize("attack", [pgd, mi_fgsm, apgd])
def test_wrong_settings_are_one_sentence(attack, wrong, message):
    with pytest.raises(SpikeflipError) as error:
        attack(spiking(), IMAGES, torch.zeros(6).long(), **wrong)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_wrong_calls_are_one_sentence():
    labels = torch.zeros(6).long()
    two = SpikingNetwork("2FC", (6,), time_steps=4)
    with pytest.raises(SpikeflipError, match="dlr compares three classes, and the victim has 2: choose margin"):
        apgd(two, IMAGES, labels, loss="dlr")
    with pytest.raises(SpikeflipError, match="encodings is 3, but nothing is drawn to encode these inputs"):
        scg(spiking(), torch.ones(6, 8, 6), labels, encodings=3)
    with pytest.raises(SpikeflipError, match="encodings is 3, but nothing is drawn to encode these inputs"):
        pgd(spiking(coding="latency"), IMAGES, labels, encodings=3)
    with pytest.raises(SpikeflipError, match=r"images hold the value 1\.5"):
        pgd(spiking(), IMAGES * 0 + 1.5, labels)
    with pytest.raises(SpikeflipError, match="are spikes, but this attack is defined on images only"):
        pgd(spiking(), torch.ones(6, 8, 6), labels)
    with pytest.raises(SpikeflipError, match="keeps to a ball in linf: give that"):
        sa_pgd(spiking(), IMAGES, labels, budget=Budget(0.1, "l2"))
    with pytest.raises(SpikeflipError, match="rescue_window asks for the gradient of one encoding again"):
        scg(spiking(), IMAGES, labels, encodings=2, rescue_window=2.0)
    with pytest.raises(SpikeflipError, match="a ReLU network has no firing neurons: leave it out"):
        pgd(linear([[1.0] * 6, [0.5] * 6]), IMAGES.double(), labels, gradient="rga")


def test_all_of_them_are_registered():
    assert set(BALL) <= set(ATTACKS)


def test_momentum_counts_and_does_not_depend_on_batch_mates(monkeypatch):
    victim, digits = load_victim("demo-digits"), load_images("digits", "test")
    images, labels = digits.images[:6], digits.labels[:6]
    attack = APGD(steps=8, loss="margin", budget=Budget(0.08, "linf"))
    together, alone = (attack(victim, images, labels, micro_batch=size).adversarials for size in (6, 1))
    assert torch.equal(together, alone)
    monkeypatch.setitem(APGD.advance.__globals__, "_INERTIA", 1.0)
    assert not torch.equal(attack(victim, images, labels).adversarials, together)
