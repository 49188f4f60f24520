"""Compositions for tests: hand-picked ones, and as many random ones as are asked for."""

from collapse_jax.loop.workflow import Fit, Latest, Mixed, Past, Real, Synthetic, Workflow

FOREVER = None

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
