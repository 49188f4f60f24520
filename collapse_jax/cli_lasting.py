"""The options of `collapse-jax rerun`, and what it does."""

import dataclasses
import json
from typing import Annotated

from tyro.conf import Positional, arg

from collapse_jax.cli_options import TargetOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rerun(TargetOptions):
    """Run a saved dataset again, and report the largest difference in each variable."""

    file: Annotated[Positional[str], arg(metavar="FILE")]
    """The dataset, as simulate saved it (.nc)."""

    def run(self) -> bool:
        """Run it again and print a table; whether the two are equal up to rounding."""
        import rich
        import rich.table
        import xarray as xr

        from collapse_jax.rerun import rerun

        try:
            ds = xr.load_dataset(self.file, engine="h5netcdf")
        except OSError as error:
            raise ValueError(
                f"file must be a readable dataset; {self.file} is not: {error}"
            ) from None
        try:
            regression = json.loads(ds.attrs["config"])["task"]["type"] == "LinearRegression"
        except (KeyError, TypeError, json.JSONDecodeError):
            raise ValueError(
                f"file must be a dataset of simulate, and {self.file} is none"
            ) from None
        again, differences = rerun(ds, self.read_pair() if regression else self.read())
        table = rich.table.Table("variable", "largest difference", "equal up to rounding")
        for name, difference in differences.items():
            equal = "yes" if difference.only_rounding else "no"
            table.add_row(name, f"{difference.largest:.3g}", equal)
        rich.print(table)
        for name in ("collapse_jax_version", "jax_version", "jaxlib_version", "device"):
            if ds.attrs.get(name) != again.attrs[name]:
                print(f"{name}: {ds.attrs.get(name)} then, {again.attrs[name]} now")
        return all(difference.only_rounding for difference in differences.values())
