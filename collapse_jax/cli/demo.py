"""`collapse-jax demo`."""

from collapse_jax.basics.annotations import File


def run_demo(
    out: File = "collapse.png",
    generations: int = 100,
    seeds: int = 400,
    language_model: bool = True,
) -> None:
    """Run three workflows on six tasks; print a table and save a figure (a few minutes).

    Args:
        out: save the figure in this file (.png, .pdf or .svg).
        generations: generations per chain.
        seeds: number of chains per run.
        language_model: train language models as well, which takes most of the time.
    """
    from collapse_jax.report import demonstration

    demonstration.run(out, generations, seeds, language=language_model)
