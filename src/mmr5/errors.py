"""Every error that mmr5 raises on purpose.

The tree; each error is also a standard kind, so that ``except ValueError`` and the like keep working::

    MMR5Error
    ├── InputError (ValueError)              the caller's input cannot be used
    │   ├── SourceNotFoundError (FileNotFoundError)   no such file or folder
    │   ├── DocumentError                    a document that cannot be opened: encrypted, truncated, empty, of no known kind
    │   ├── PageError                        one page that cannot be read or decoded
    │   └── CorpusError                      a corpus folder or run file that breaks its format
    ├── ConfigError (ValueError)             a setting with an unknown name or an impossible value
    ├── CapabilityError (TypeError)          a method asks an engine for what it cannot do
    ├── ContextLengthError (ValueError)      a prompt does not fit the model's context
    ├── ReplyError (ValueError)              strict parsing met a reply that needed repair
    ├── ModelNotFoundError (LookupError)     no weights under that name or path
    ├── IntegrityError (RuntimeError)        a file whose sha256 is not the expected one
    ├── MissingExtraError (ImportError)      an optional dependency is not installed
    ├── EngineError (RuntimeError)           the backend failed; ``retryable`` says whether another try may help
    └── OutputError (OSError)                a result cannot be written

    MMR5Warning (UserWarning)                something was passed over and the work went on (a bad page among good ones)

Messages say what happened, the value seen, and the way out.
"""

from __future__ import annotations


class MMR5Error(Exception):
    """Base of every error raised on purpose by mmr5."""


class InputError(MMR5Error, ValueError):
    """The caller's input cannot be used."""


class SourceNotFoundError(InputError, FileNotFoundError):
    """No file or folder at the given path."""

    __str__ = Exception.__str__


class DocumentError(InputError):
    """A document cannot be opened: encrypted, truncated, empty, or of no known kind."""


class PageError(InputError):
    """One page cannot be read or its image cannot be decoded."""


class CorpusError(InputError):
    """A corpus folder, run file or row breaks its format."""


class ConfigError(MMR5Error, ValueError):
    """A setting has an unknown name or an impossible value."""


class CapabilityError(MMR5Error, TypeError):
    """A method asks an engine for something that it cannot do."""


class ContextLengthError(MMR5Error, ValueError):
    """A prompt does not fit the model's context."""


class ReplyError(MMR5Error, ValueError):
    """A reply needed repair and ``strict=True`` was asked for."""


class ModelNotFoundError(MMR5Error, LookupError):
    """No weights are found under the given name or path."""


class IntegrityError(MMR5Error, RuntimeError):
    """A file's sha256 is not the expected one."""


class MissingExtraError(MMR5Error, ImportError):
    """An optional dependency is not installed."""


class EngineError(MMR5Error, RuntimeError):
    """The backend failed while generating or scoring.

    Attributes:
        retryable: whether the same request may succeed later (time-out, overload).
    """

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable

    def __reduce__(self) -> tuple[object, ...]:
        return (_engine_error, (str(self), self.retryable))


def _engine_error(message: str, retryable: bool) -> EngineError:
    """Rebuild an ``EngineError`` from a pickle."""
    return EngineError(message, retryable=retryable)


class OutputError(MMR5Error, OSError):
    """A result cannot be written."""

    __str__ = Exception.__str__


class MMR5Warning(UserWarning):
    """Something was passed over, was reported, and the work went on."""


def missing_extra(package: str, extra: str, purpose: str) -> MissingExtraError:
    """Word the error for an optional dependency that is not installed.

    Args:
        package: the import that failed, e.g. ``"torch"``.
        extra: the extra of this package that brings it, e.g. ``"local"``.
        purpose: what it is needed for, completing "... is needed to ...".
    """
    return MissingExtraError(f"{package} is needed to {purpose}, and it is not installed. Run: pip install 'mmr5[{extra}]'")
