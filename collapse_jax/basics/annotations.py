"""Types of arguments that say how they are written on a command line.

An argument that also takes arrays, or numbers that are known only inside a transformed function, is
`Any` to a type checker; its annotation says what people may write.
"""

from typing import Annotated, Any, TypeAlias

Number: TypeAlias = Annotated[Any, "FLOAT"]
"""A number, perhaps a traced one."""
Numbers: TypeAlias = Annotated[Any, "FLOAT ..."]
"""One number or several, perhaps an array."""
Table: TypeAlias = Annotated[Any, "TABLE"]
"""Rows of numbers, on a command line columns of a file."""
Labels: TypeAlias = Annotated[Any, "LABELS"]
"""Labels, on a command line one column of a file."""
Pair: TypeAlias = Annotated[Any, "PAIR"]
"""Rows of numbers and a label of each, on a command line columns of a file and a target."""
Classes: TypeAlias = Annotated[Any, "CLASSES"]
"""The same, with labels that may be text."""
Mixed: TypeAlias = Annotated[Any, "MIXED"]
"""Columns of numbers and of categories, on a command line those of a file."""
File: TypeAlias = Annotated[str, "FILE"]
Folder: TypeAlias = Annotated[str, "FOLDER"]
