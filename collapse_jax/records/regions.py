"""Metrics on disk: a store that is written block by block, and read as it is needed."""

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_jax.basics import checks, files
from collapse_jax.loop.settings import flat
from collapse_jax.machines.flags import decisive_flags
from collapse_jax.records.config import check_exact
from collapse_jax.records.folder import differing_values
from collapse_jax.records.lock import Lock

if TYPE_CHECKING:
    import xarray as xr

SUFFIX = ".zarr"
_SEED, _GENERATION = "seed", "generation"
_OF_A_CALL = "wall_seconds"
_KEPT = "store"  # an attribute of the store alone


class Regions:
    """The dataset of a run in a Zarr store, written a block of seeds at a time.

    Of each variable, all generations of a block are one file with a check sum. Blocks whose files
    are missing, were not finished or are damaged are not held, and so are run again.

    Who writes is in its context, which locks the store.

    Args:
        path: the store (.zarr); made where it is missing.
        seeds: of all chains.
        size: how many seeds a block has, the last one perhaps fewer.
        like: a dataset of the run, of any chains and generations, with its configuration.
        n_generations: how many there are.
        shared: whether others that share the run may write at the same time.

    Raises:
        ImportError: without the library zarr.
        ValueError: for a store of another run, for what is no store, and for a run that cannot be
            told from others.
    """

    def __init__(
        self,
        path: str | Path,
        seeds: np.ndarray,
        size: int,
        like: "xr.Dataset",
        n_generations: int,
        shared: bool = False,
    ):
        self.path, self._size = Path(path), size
        _check_suffix(self.path)
        self._names = [str(name) for name in like]
        check_exact(json.loads(like.attrs["config"]), "out")
        zarr = _library()
        attributes = {name: value for name, value in like.attrs.items() if name != _OF_A_CALL}
        attributes[_KEPT] = {"block": size, "flags": decisive_flags()}
        if not self.path.exists():
            whole = {**like.sizes, _SEED: len(seeds), _GENERATION: n_generations}
            known = {_SEED: seeds.astype(np.int64), _GENERATION: np.arange(1, n_generations + 1)}
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(
                prefix=".part-", dir=self.path.parent, ignore_cleanup_errors=True
            ) as part:
                _create(zarr, Path(part) / "store", like, whole, known, attributes, size)
                try:
                    (Path(part) / "store").rename(self.path)
                except OSError:
                    if not self.path.exists():  # and no other process was quicker
                        raise
        self._group = _opened(zarr, self.path)
        self._check(attributes, seeds)
        beside, name = self.path.parent, f".{self.path.name}.lock"
        self._lock = Lock(beside, name, shared=shared, locked=("out", self.path))

    def __enter__(self) -> "Regions":
        try:
            self._lock.take()
        except OSError as error:
            beside = f"out must be in a folder to write to, and {self.path} is not"
            raise files.refused(beside, error) from None
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _check(self, attributes: dict[str, Any], seeds: np.ndarray) -> None:
        """Refuse the store of another run, by what differs."""
        kept = self._group.attrs.asdict()
        old, new = _flat(kept), _flat(attributes)
        names = dict.fromkeys((*new, *old))
        wrong = [n for n in names if n not in old or n not in new or old[n] != new[n]]
        said = differing_values(wrong, old, new)
        if not wrong and not np.array_equal(self._group[_SEED][:], seeds):
            said = "its seeds are others"
        if said:
            raise ValueError(f"out must be of this run, and {self.path} is of another: {said}")

    def holds(self, block: int) -> bool:
        """Whether the files of a block are there, and every byte of them is what was written."""
        where = self._where(block)
        for name in self._names:
            array = self._group[name]
            key = "/".join(["c", str(block), *["0"] * (array.ndim - 1)])
            if not (self.path / name / key).is_file():
                return False
            try:
                array[where]
            except ValueError:  # the check sum differs
                return False
        return True

    def put(self, block: int, ds: "xr.Dataset") -> None:
        """Write the metrics of a block.

        Raises:
            OSError: where that fails, for instance on a full disk; the block is not held then.
        """
        try:
            for name in self._names:
                self._group[name][self._where(block)] = ds[name].values
        except OSError as error:
            raise OSError(
                error.errno,
                f"out {self.path} could not be written; the blocks before are whole, and the same "
                f"call goes on from there: {error.strerror or error}",
            ) from error

    def dataset(self) -> "xr.Dataset":
        """All of it, of which nothing is read before it is asked for."""
        import xarray as xr

        ds = xr.open_zarr(self.path, chunks=None, consolidated=False)
        ds.attrs.pop(_KEPT)
        return ds

    def _where(self, block: int) -> slice:
        return slice(block * self._size, (block + 1) * self._size)


def block_of(path: str | Path) -> int | None:
    """How many seeds a block of a store has, None where there is no store yet.

    Raises:
        ImportError: without the library zarr.
        ValueError: for what is no store of a run.
    """
    _check_suffix(Path(path))
    if not Path(path).exists():
        return None
    kept = _opened(_library(), Path(path)).attrs.get(_KEPT)
    if not isinstance(kept, dict) or not isinstance(kept.get("block"), int) or kept["block"] < 1:
        raise ValueError(f"out must be a store of a run, and {path} is none")
    return kept["block"]


def _check_suffix(path: Path) -> None:
    checks.one_of("the suffix of out", path.suffix.lower(), (SUFFIX,))


def _flat(attributes: dict[str, Any]) -> dict[str, Any]:
    """All that tells a run from others, by dotted names."""
    kept = attributes.get(_KEPT, {})
    known = {"stream_version": attributes.get("stream_version"), **kept}
    return flat({**known, **json.loads(attributes.get("config", "{}"))})


def _create(
    zarr: Any,
    path: Path,
    like: "xr.Dataset",
    sizes: dict[Any, int],
    known: dict[str, np.ndarray],
    attributes: dict[str, Any],
    size: int,
) -> None:
    from zarr.codecs import Crc32cCodec

    group = zarr.create_group(path, zarr_format=3, attributes=attributes)
    for name, variable in like.variables.items():
        shape = tuple(sizes[dim] for dim in variable.dims)
        values = known.get(str(name), variable.values)
        chunks = tuple(
            min(size, n) if d == _SEED else n for d, n in zip(variable.dims, shape, strict=True)
        )
        array = group.create_array(
            name,
            shape=shape,
            chunks=shape if name in like.coords else chunks,
            dtype=values.dtype,
            compressors=[Crc32cCodec()],
            fill_value=np.nan if values.dtype.kind == "f" else 0,
            dimension_names=variable.dims,
            config={"write_empty_chunks": True},
            attributes=variable.attrs,
        )
        if name in like.coords:
            array[:] = values


def _opened(zarr: Any, path: Path) -> Any:
    try:
        return zarr.open_group(path, mode="r+")
    except (KeyError, TypeError, ValueError, FileNotFoundError) as error:
        raise ValueError(f"out must be a store of a run, and {path} is none: {error}") from None


def _library() -> Any:
    try:
        import zarr
    except ImportError:
        raise ImportError("out needs the extra [zarr]: pip install 'collapse_jax[zarr]'") from None
    return zarr
