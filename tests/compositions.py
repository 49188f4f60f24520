"""Compositions for tests, hand-picked and random, and chains that draw every row of them."""

import numpy as np

from collapse_jax.loop.workflow import Fit, Latest, Mixed, Past, Real, Synthetic, Workflow

FOREVER = None
T, N, CHAINS = 5, 4, 20_000  # the hand-picked ones are for T generations and N rows

HAND_PICKED = {
    "replace": Workflow(),
    "accumulate": Workflow(Real(keep=FOREVER), Synthetic(keep=FOREVER)),
    "subsample": Workflow(Real(keep=FOREVER), Synthetic(keep=FOREVER), Fit(n="batch")),
    "bootstrap": Workflow(
        Real(keep=FOREVER), Synthetic(keep=FOREVER), Fit(n="batch", with_replacement=True)
    ),
    "replace, sizes": Workflow(synthetic=Synthetic(n=[3, 9, 2, 5, 4])),
    "replace, some of the rows": Workflow(Real(n=7), Synthetic(n=9), Fit(n=4)),
    "replace, bootstrap": Workflow(fit=Fit(n=6, with_replacement=True)),
    "replace, temperature": Workflow(synthetic=Synthetic(temperature=[0.5, 1.4, 0.9, 1.0, 2.0])),
    "window": Workflow(Real(keep=2), Synthetic(keep=2)),
    "windows of their own": Workflow(Real(keep=3), Synthetic(keep=2, n=3)),
    "window, subset": Workflow(Real(keep=2), Synthetic(keep=3), Fit(n=3)),
    "window, bootstrap": Workflow(Real(keep=2), Synthetic(keep=2), Fit(n=5, with_replacement=True)),
    "fixed real rows": Workflow(Real(keep=FOREVER), Synthetic(n=6)),
    "fixed real rows, subset": Workflow(Real(keep=FOREVER), Synthetic(n=6), Fit(n=5)),
    "fixed real rows, weight": Workflow(
        Real(keep=FOREVER), fit=Fit(real_weight=[1, 0.2, 0.7, 0.5, 0.1])
    ),
    "real rows that leave, weight": Workflow(Real(keep=3), fit=Fit(real_weight=0.3)),
    "all weight on real rows": Workflow(Real(every=True, keep=2), fit=Fit(real_weight=1.0)),
    "no weight on real rows": Workflow(Real(every=True), fit=Fit(real_weight=0.0)),
    "fresh real rows": Workflow(Real(every=True), Synthetic(n=6, temperature=0.7)),
    "fresh real rows, weight": Workflow(Real(every=True), fit=Fit(real_weight=0.618)),
    "fresh real rows that stay": Workflow(
        Real(every=True, keep=FOREVER, n=2), Synthetic(keep=FOREVER, n=3)
    ),
    "fresh real rows that stay a while": Workflow(
        Real(every=True, keep=3, n=[4, 2, 3, 1, 5]), Synthetic(keep=2), Fit(real_weight=0.4)
    ),
    "fresh real rows, bootstrap": Workflow(
        Real(every=True, keep=2), Synthetic(keep=FOREVER), Fit(n=4, with_replacement=True)
    ),
    "growing batches": Workflow(
        Real(n=lambda t: t + 2, every=True), Synthetic(n=lambda t: 2 * t + 1, keep=FOREVER)
    ),
    "past": Workflow(synthetic=Synthetic(of=Past())),
    "past, kept": Workflow(Real(keep=FOREVER), Synthetic(of=Past(), keep=FOREVER)),
    "past, tempered": Workflow(synthetic=Synthetic(of=Past(), temperature=0.6)),
    "last two": Workflow(synthetic=Synthetic(of=Past(last=2))),
    "last three equally": Workflow(synthetic=Synthetic(n=7, of=Past(last=3, equally=True))),
    "last two equally, kept": Workflow(
        Real(keep=2), Synthetic(keep=2, n=5, of=Past(last=2, equally=True)), Fit(n=4)
    ),
    "mixed": Workflow(synthetic=Synthetic(of=Mixed(0.3))),
    "mixed, schedule": Workflow(
        Real(keep=2), Synthetic(of=Mixed([0.1, 0.9, 0.5, 0.0, 1.0]), temperature=1.3)
    ),
    "mixed, subset": Workflow(Real(keep=2), Synthetic(of=Mixed(0.5), keep=2), Fit(n=4)),
    "last one": Workflow(synthetic=Synthetic(of=Past(last=1, equally=True), keep=2)),
    "more models than there are": Workflow(
        synthetic=Synthetic(n=11, of=Past(last=99, equally=True))
    ),
}


def random_workflow(rng, n_generations, *, closed=True, tempered=True, sizes=(2, 7)):
    """A composition drawn at random.

    Args:
        rng: a generator of NumPy.
        n_generations: number of generations for which schedules have values.
        closed: whether random subsets of weighted rows are left out.
        tempered: whether temperatures may differ from 1.
        sizes: smallest size of a batch, and one more than the largest.
    """

    def one_of(*values):
        return values[rng.integers(len(values))]

    def schedule(draw):
        return one_of(draw(), [draw() for _ in range(n_generations)])

    def size():
        return int(rng.integers(*sizes))

    def share():
        return round(float(rng.uniform(0.05, 0.95)), 3)

    real = Real(
        n=one_of(None, schedule(size)), every=one_of(True, False), keep=one_of(1, 1, 2, 3, None)
    )
    synthetic = Synthetic(
        n=one_of(None, schedule(size)),
        keep=one_of(1, 1, 2, 3, None),
        of=one_of(
            Latest(),
            Latest(),
            Mixed(schedule(share)),
            Past(),
            Past(last=int(rng.integers(1, 5))),
            Past(last=int(rng.integers(1, 5)), equally=True),
        ),
        temperature=schedule(lambda: round(float(rng.uniform(0.5, 1.5)), 3))
        if tempered and rng.random() < 0.4
        else 1.0,
    )
    rows = one_of(None, None, "batch", sizes[0])
    weighted = (real.every or real.keep is None) and (rows is None or not closed)
    return Workflow(
        real,
        synthetic,
        Fit(
            n=rows,
            with_replacement=rows is not None and bool(rng.random() < 0.5),
            real_weight=schedule(share) if weighted and rng.random() < 0.5 else None,
        ),
    )


def at(schedule, t, default):
    if schedule is None or schedule == "batch":
        return default
    if callable(schedule):
        return schedule(t)
    return schedule if np.ndim(schedule) == 0 else schedule[t - 1]


class Twin:
    """Chains of a one-dimensional model that is a mean and a variance, from the definitions."""

    def __init__(self, rng, workflow, estimator="mle", data=None, n=N, chains=CHAINS):
        self.rng, self.loop, self.estimator, self.n, self.chains = (
            rng,
            workflow,
            estimator,
            n,
            chains,
        )
        self.data, self.deck = data, np.empty((chains, 0))

    def run(self, n_generations):
        real, synthetic, models, errors, variances = [], [], [], [], []
        for t in range(1, n_generations + 1):
            if t == 1 or self.loop.real.every:
                real.append((t, self.deal(at(self.loop.real.n, t, self.n))))
            model = self.fit(
                t,
                [rows for born, rows in real if self.seen(self.loop.real, born, t)],
                [rows for born, rows in synthetic if self.seen(self.loop.synthetic, born, t)],
            )
            models.append(model)
            errors.append(model[0] ** 2)
            variances.append(model[1])
            synthetic.append((t + 1, self.sample(t, models)))
        return np.stack(errors, 1), np.stack(variances, 1)

    @staticmethod
    def seen(stream, born, t):
        return stream.keep is None or t < born + stream.keep

    def deal(self, n):
        if self.data is None:
            return self.rng.standard_normal((self.chains, n))
        while self.deck.shape[1] < n:
            new = self.rng.permuted(np.tile(self.data, (self.chains, 1)), axis=1)
            self.deck = np.concatenate([self.deck, new], axis=1)
        dealt, self.deck = self.deck[:, :n], self.deck[:, n:]
        return dealt

    def fit(self, t, real, synthetic):
        rows = np.concatenate([*real, *synthetic], axis=1)
        is_real = np.arange(rows.shape[1]) < sum(batch.shape[1] for batch in real)
        is_real = np.broadcast_to(is_real, rows.shape)
        size, fit = rows.shape[1], self.loop.fit
        drawn = size if fit.n is None else at(fit.n, t, self.n)
        if fit.with_replacement or drawn < size:
            index = (
                self.rng.integers(size, size=(self.chains, drawn))
                if fit.with_replacement
                else np.argsort(self.rng.random(rows.shape), axis=1)[:, :drawn]
            )
            rows = np.take_along_axis(rows, index, axis=1)
            is_real = np.take_along_axis(is_real, index, axis=1)
        weights = np.full(rows.shape, 1 / rows.shape[1])
        if fit.real_weight is not None and t > 1:
            n_real = is_real.sum(axis=1, keepdims=True)
            n_made = rows.shape[1] - n_real
            share = np.where(n_real == 0, 0.0, at(fit.real_weight, t, None))
            share = np.where(n_made == 0, 1.0, share)
            weights = np.where(
                is_real, share / np.maximum(n_real, 1), (1 - share) / np.maximum(n_made, 1)
            )
        mean = np.sum(rows * weights, axis=1)
        variance = np.sum((rows - mean[:, None]) ** 2 * weights, axis=1)
        if self.estimator == "unbiased":
            variance = variance / (1 - np.sum(weights**2, axis=1))
        return mean, variance

    def sample(self, t, models):
        of, n = self.loop.synthetic.of, at(self.loop.synthetic.n, t, self.n)
        sequence = list(range(t + 1))  # 0 is the truth
        if isinstance(of, Mixed):
            real = self.rng.random((self.chains, n)) < at(of.truth_share, t, None)
            picked = np.where(real, 0, t)
        elif isinstance(of, Past) and of.equally:
            newest = sequence[::-1][: of.last]
            each, left = divmod(n, len(newest))
            picked = np.repeat(newest, [each + (i < left) for i in range(len(newest))])
            picked = np.broadcast_to(picked, (self.chains, n))
        elif isinstance(of, Past):
            choice = np.array(sequence if of.last is None else sequence[-of.last :])
            picked = choice[self.rng.integers(len(choice), size=(self.chains, n))]
        else:
            picked = np.full((self.chains, n), t)
        heat = at(self.loop.synthetic.temperature, t, 1.0)
        means = np.stack([np.zeros(self.chains)] + [mean for mean, _ in models], axis=1)
        spread = np.stack([np.ones(self.chains)] + [np.sqrt(heat * v) for _, v in models], axis=1)
        rows = np.take_along_axis(means, picked, axis=1) + np.take_along_axis(
            spread, picked, axis=1
        ) * self.rng.standard_normal((self.chains, n))
        if self.data is not None:
            rows = np.where(picked == 0, self.rng.choice(self.data, size=rows.shape), rows)
        return rows


def fading(t):
    """Real rows that are all but lost from the seventh generation on."""
    return 100 if t <= 6 else 1


def flooding(t):
    return 100 if t <= 5 else 5000
