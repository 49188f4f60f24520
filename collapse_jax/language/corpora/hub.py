"""Documents from the hub of Hugging Face."""

import re
from typing import Any

from collapse_jax.language.corpora.reading import records
from collapse_jax.language.corpora.text import AbstractText


class Hub(AbstractText):
    """Documents from a data set of the hub of Hugging Face. Needs the extra `[hub]`.

    Args:
        name: name of the data set, `owner/name`.
        subset: which of the data set's configurations. Default its own default.
        split: which documents, in the notation of the library `datasets`: `"train"`,
            `"train[:10000]"`. Default `"train"`.
        test_split: the data set's own documents for tests, such as `"validation"`. Default None:
            they are taken from `split`.
        revision: which version of the data set: a branch, a tag or a commit.
        prompt: as for `Text`.
        response: as for `Text`.
        text: as for `Text`.
        messages: as for `Text`.
        test_fraction: as for `Text`.
        split_seed: as for `Text`.
        published_strip: as for `Text`.

    Raises:
        ValueError: for a malformed name, without the extra, where the hub cannot be reached or has
            no such data set, and for what `Text` refuses.
    """

    def __init__(
        self,
        name: str,
        *,
        subset: str | None = None,
        split: str = "train",
        test_split: str | None = None,
        revision: str | None = None,
        prompt: str | None = None,
        response: str | None = None,
        text: str | None = None,
        messages: str | None = None,
        test_fraction: float = 0.1,
        split_seed: int = 0,
        published_strip: bool = False,
    ):
        columns = (prompt, response, text, messages)
        super().__init__(*columns, test_fraction, split_seed, published_strip)
        if not re.fullmatch(r"([\w.-]+/)?[\w.-]+", name, re.ASCII):
            raise ValueError(
                f"name must be that of a data set on the hub, as 'owner/name', got {name!r}; "
                "a file is read by Text(path)"
            )
        self.name, self.subset, self.revision = name, subset, revision
        self.split, self.test_split = split, test_split
        documents = self._load(split)
        if test_split is None:
            self._split(documents)
        elif (test_fraction, split_seed) != (0.1, 0):
            raise ValueError(
                "test_fraction and split_seed cannot be given together with test_split, which says "
                "what the test documents are"
            )
        else:
            skipped = self.skipped
            self._keep(documents, self._load(test_split))
            self.skipped += skipped

    def _load(self, split: str) -> list[Any]:
        try:
            import datasets  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise ValueError(
                "a corpus from the hub needs the extra [hub]: pip install 'collapse_jax[hub]'"
            ) from None
        try:
            table: Any = datasets.load_dataset(
                self.name, self.subset, split=split, revision=self.revision
            )
        except Exception as error:  # the library raises what its many libraries raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(
                f"name must be a data set that can be loaded; {self.name} cannot be, perhaps for "
                f"want of a network: {reason}. A file is read by Text(path)"
            ) from None
        for column in self._columns:
            records.check_column(column, table.column_names, self.name)
        rows = zip(*(table[column] for column in self._columns), strict=True)
        source = f"{self.name}, {split}"
        places = ((f"row {i} of {source}", list(row)) for i, row in enumerate(rows))
        return self._documents(places, source)
