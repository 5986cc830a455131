"""The exceptions a user may catch: each says what, which value, and what to do about it."""


class BayesSplatError(Exception):
    """A mistake in the input that the user can mend.

    The message is one sentence that names the thing (file, option, argument), shows the value found
    and proposes the remedy. The command line prints it without a traceback and exits with 2.
    """


class SceneError(BayesSplatError):
    """A scene on disk cannot be used: missing or unreadable image, bad pose, bad intrinsics."""


class ConfigError(BayesSplatError):
    """An option is unknown, of the wrong type or out of its range."""


class ModelError(BayesSplatError):
    """Views and settings that do not make a model: no overlap, near >= far, no Gaussian visible."""


class OutputError(BayesSplatError):
    """Results cannot be written: full disk, no permission, a file where a folder should be."""
