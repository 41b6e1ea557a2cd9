"""The version of the host distribution, in one place for Python."""

__all__ = ["__version__"]

__version__ = "0.1.0"
