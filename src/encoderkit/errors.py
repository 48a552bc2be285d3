"""Every error that encoderkit raises on purpose.

    EncoderkitError
    ├── UserError                 bad input: one line, exit code 2
    │   ├── OptionError           a flag or option that can't be honoured
    │   ├── ModelNotFoundError    neither the demo, nor a folder, nor a Hub id that can be had
    │   ├── CheckpointError       a checkpoint that is incomplete, damaged or contradicts itself
    │   │   └── UnsafePickleError a pickle that asks for more than tensors
    │   ├── UnsupportedModelError a family, a head or a configuration that isn't defined here
    │   │   └── UnknownFamilyError a family that nothing is defined of
    │   ├── ArtifactError         an artifact that is missing, damaged or was made from something else
    │   └── InputError            a text, a record or a data file that can't be worked on
    ├── MissingExtraError         an optional library isn't installed: says the pip line, exit code 2
    ├── StorageError              disk full, folder not writable: exit code 2
    ├── NetworkError              the Hub can't be reached: exit code 2
    ├── EmitError                 a graph can't be written as asked (opset, precision): exit code 2
    │   └── DynamicShapeError     it can't be written for any batch and length, but perhaps for one shape
    ├── RuntimeFailure            a runtime refused or broke while compiling or executing: exit code 1
    └── FidelityError             a graph whose numbers differ from its reference: exit code 1

A message says what was found, what was expected, and what mends it.
"""

from __future__ import annotations


class EncoderkitError(Exception):
    """Root of the tree.

    Attributes:
        exit_code: what the command line returns for it.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}. {self.hint}"


class UserError(EncoderkitError):
    """Input that can't be used as it is."""


class OptionError(UserError):
    """A flag or option that can't be honoured."""


class ModelNotFoundError(UserError):
    """A name that is no demo, no folder and no repository that can be had."""


class CheckpointError(UserError):
    """A checkpoint that is incomplete, damaged or contradicts its own configuration."""


class UnsafePickleError(CheckpointError):
    """A pickle that asks for anything but tensors."""


class UnsupportedModelError(UserError):
    """A family, head or configuration that isn't defined here."""


class UnknownFamilyError(UnsupportedModelError):
    """A family that nothing is defined of here."""


class ArtifactError(UserError):
    """An artifact that is missing, damaged, or was made from something else."""


class InputError(UserError):
    """A text, a record or a data file that can't be worked on."""


class MissingExtraError(EncoderkitError):
    """An optional library that isn't installed."""


class StorageError(EncoderkitError):
    """A disk that is full or a folder that can't be written."""


class NetworkError(EncoderkitError):
    """A network that can't be reached."""


class EmitError(EncoderkitError):
    """A graph that can't be written as asked."""


class DynamicShapeError(EmitError):
    """A graph that can't be written for any batch and length, but perhaps for one shape."""


class RuntimeFailure(EncoderkitError):
    """A runtime that refused or broke."""

    exit_code = 1


class FidelityError(EncoderkitError):
    """A graph whose numbers differ from its reference by more than is allowed."""

    exit_code = 1
