"""What `simulate` leaves behind: files whose names are checked before anything runs."""

from pathlib import Path
from typing import Any, NamedTuple

from collapse_jax.basics import files, sums
from collapse_jax.records.regions import SUFFIX


class Outputs(NamedTuple):
    """Where chains, a figure and a picture go; None for what is not wanted."""

    chains: Path | None
    """A NetCDF file."""
    store: Path | None
    """A store for more chains than fit into memory."""
    figure: Path | None
    album: Any
    """What watches the chains for the picture."""
    picture: Path | None

    @classmethod
    def checked(cls, out: Any, figure: Any, picture: Any, checkpoint: Any) -> "Outputs":
        """From what was written.

        Raises:
            ValueError: for names that are none of such files, figures with a store, and pictures
                with a store or a checkpoint.
        """
        store = Path(out) if out and Path(out).suffix.lower() == SUFFIX else None
        if store and figure:
            raise ValueError(
                "figure cannot be given with a store, whose metrics may not fit into memory"
            )
        if picture and (store or checkpoint):
            other = "a store" if store else "checkpoint"
            raise ValueError(
                f"picture cannot be given with {other}, which may have generations already"
            )
        saved = out and not store and files.check_writable("out", out, (".nc", SUFFIX))
        return cls(saved or None, store, _figure(figure), *_picture(picture))

    def write(self, ds: Any, predicted: Any) -> None:
        """Write the files, and say where they are.

        Args:
            ds: the dataset of the run.
            predicted: what theory says of it.
        """
        from collapse_jax.records.run_files import write_run

        try:
            if self.picture:
                self._draw(ds, self.picture)
        finally:  # a picture that cannot be had is no reason to lose the chains
            if self.chains:
                write_run(ds, self.chains)
                print(f"Chains: {self.chains}")
        if self.figure:
            from collapse_jax.report.figures import plot

            image, suffix = plot(ds, theory=predicted), self.figure.suffix[1:].lower()
            files.write_atomically(
                self.figure, lambda path: image.savefig(path, format=suffix, dpi=200)
            )
            print(f"Figure: {self.figure}")

    def _draw(self, ds: Any, path: Path) -> None:
        """Write the picture, and have the dataset say which one is its own."""
        from collapse_jax.analysis.runs import collect, title
        from collapse_jax.report.generations import save_generations

        n = ds.sizes["generation"]  # fewer than the album has where a rule ended the run
        self.album.views = {t: view for t, view in self.album.views.items() if t <= n}
        save_generations(self.album, path, title=title(collect(ds, theory=False)))
        ds.attrs |= {"picture": path.name, "picture_sum": sums.sum_of_file(path)}
        print(f"Picture: {path}")


def _figure(name: Any) -> Path | None:
    if not name:
        return None
    from collapse_jax.report.demonstration import FIGURES

    return files.check_writable("figure", name, FIGURES)


def _picture(name: Any) -> tuple[Any, Path | None]:
    """What watches the chains, and the file."""
    if not name:
        return None, None
    from collapse_jax.report.generations import PICTURES
    from collapse_jax.run.on_host.albums import Album

    return Album(seed=0), files.check_writable("picture", name, PICTURES)
