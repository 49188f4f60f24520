"""The diffusion model of `benchmarks.trained` in torch: same network, steps and sampler."""

import copy
import itertools
import math
from collections.abc import Callable
from typing import Any

import torch  # pyright: ignore[reportMissingImports]

from benchmarks.trained import (
    BATCH,
    DEPTH,
    EMA,
    ONE_BY_ONE,
    RATE,
    REPLICATES,
    ROWS,
    SAMPLING_STEPS,
    STEPS,
    WIDTH,
)

LEAST = math.atan(math.exp(-5.0))
Weights = dict[str, Any]


def network() -> Any:
    """The perceptron that the task has, of two columns."""
    sizes = [2 + 1 + 2 * (3 + 2 * 4), *[WIDTH] * DEPTH, 2]
    layers = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.SiLU()]
    return torch.nn.Sequential(*layers[:-1])


def velocity(apply: Callable[[Any], Any], z: Any, angles: Any) -> Any:
    """What the network makes of rows `[n, 2]` and their angles, by way of their waves."""
    place = torch.log(torch.tan(angles))[:, None] / 5.0
    turns = math.pi * place * torch.tensor([1.0, 2.0, 4.0])
    waves = torch.cat([turns, *(wave * z for wave in (1.0, 2.0, 4.0, 8.0))], dim=1)
    return apply(torch.cat([z, place, torch.sin(waves), torch.cos(waves)], dim=1))


def loss(apply: Callable[[Any], Any], rows: Any, noise: Any, shift: Any) -> Any:
    """Mean squared error of the velocity at stratified angles."""
    share = (torch.arange(len(rows)) + shift) / len(rows)
    angles = LEAST + share * (math.pi / 2 - 2 * LEAST)
    cos, sin = torch.cos(angles)[:, None], torch.sin(angles)[:, None]
    found = velocity(apply, cos * rows + sin * noise, angles)
    return torch.mean((found - (cos * noise - sin * rows)) ** 2)


def turned(apply: Callable[[Any], Any], z: Any) -> Any:
    """Rows from noise, by the midpoint rule."""
    grid = torch.linspace(math.sqrt(math.pi / 2 - LEAST), math.sqrt(LEAST), SAMPLING_STEPS + 1) ** 2
    for angle, after in itertools.pairwise(grid):
        way = after - angle
        half = z + 0.5 * way * velocity(apply, z, angle.expand(len(z)))
        z = z + way * velocity(apply, half, (angle + 0.5 * way).expand(len(z)))
    return z


def one_by_one() -> None:
    """Train and sample some replicates, one after the other."""
    for _ in range(ONE_BY_ONE):
        data, model = torch.randn(ROWS, 2), network()
        average = copy.deepcopy(model)
        optimizer = torch.optim.Adam(model.parameters(), RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        for _ in range(STEPS):
            rows = data[torch.randint(ROWS, (BATCH,))]
            found = loss(model, rows, torch.randn(BATCH, 2), torch.rand(()))
            optimizer.zero_grad()
            found.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                pairs = zip(average.parameters(), model.parameters(), strict=True)
                for mean, new in pairs:
                    mean.lerp_(new, 1.0 - EMA)
        with torch.no_grad():
            turned(average, torch.randn(ROWS, 2))


def together() -> None:
    """Train and sample all replicates at once."""
    made = [network() for _ in range(REPLICATES)]
    weights, _ = torch.func.stack_module_state(made)  # pyright: ignore
    average = {name: value.detach().clone() for name, value in weights.items()}
    base = copy.deepcopy(made[0]).to("meta")

    def applied(weights: Weights) -> Callable[[Any], Any]:
        return lambda x: torch.func.functional_call(base, weights, (x,))

    def loss_of(weights: Weights, rows: Any, noise: Any, shift: Any) -> Any:
        return loss(applied(weights), rows, noise, shift)

    gradients = torch.func.vmap(torch.func.grad(loss_of))
    data = torch.randn(REPLICATES, ROWS, 2)
    optimizer = torch.optim.Adam(weights.values(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        index = torch.randint(ROWS, (REPLICATES, BATCH, 1)).expand(-1, -1, 2)
        noise, shift = torch.randn(REPLICATES, BATCH, 2), torch.rand(REPLICATES)
        found = gradients(weights, data.gather(1, index), noise, shift)
        squares = [torch.sum(g.flatten(1) ** 2, dim=1) for g in found.values()]
        shrunk = torch.clamp(1.0 / torch.sqrt(torch.stack(squares).sum(dim=0)), max=1.0)
        with torch.no_grad():
            for name, value in weights.items():
                scale = shrunk.view(-1, *[1] * (value.ndim - 1))
                value.grad = found[name] * scale
            optimizer.step()
            schedule.step()
            for name, value in weights.items():
                average[name].lerp_(value, 1.0 - EMA)
    with torch.no_grad():
        noise = torch.randn(REPLICATES, ROWS, 2)
        torch.func.vmap(lambda w, z: turned(applied(w), z))(average, noise)
