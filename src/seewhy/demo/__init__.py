"""A demonstration in a world whose truth is known: two models, one of which looks at a sticker."""

from seewhy.demo.demonstration import Demonstration, demo

__all__ = ["Demonstration", "demo"]
