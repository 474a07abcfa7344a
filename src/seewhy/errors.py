"""What can go wrong, and what to do about it: every message ends with the next step."""


class SeewhyError(Exception):
    """Anything that seewhy refuses; its message says what came, what was expected, what to do."""


class PictureError(SeewhyError, ValueError):
    """A picture that cannot be read, or that the model cannot take."""


class ModelError(SeewhyError):
    """A model that cannot be loaded, run or understood."""


class LayerError(SeewhyError, ValueError):
    """A layer that does not exist, was not reached, or has no place for a map."""


class TargetError(SeewhyError, ValueError):
    """A target that the model's output does not have."""


class NoAnswerError(TargetError):
    """A target that exists, but not in this one picture: nothing detected, a score that is NaN."""


class MethodError(SeewhyError, ValueError):
    """A method that does not exist, has no such option, or does not apply to this model."""


class SaveError(SeewhyError, ValueError):
    """A file that cannot be written or read back."""


class MissingDependencyError(SeewhyError, ImportError):
    """An optional dependency that is not installed; the message has the pip command for it."""

    def __init__(self, package: str, purpose: str, extra: str | None = None) -> None:
        wanted = f"'seewhy[{extra}]'" if extra else package
        super().__init__(f"{purpose} needs {package}, which is not installed: pip install {wanted}")


class CancelledError(SeewhyError):
    """The work was cancelled by its caller."""


class SeewhyWarning(UserWarning):
    """Something a reader of the answer has to know, named with what to do about it."""
