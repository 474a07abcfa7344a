"""A demonstration in a world whose truth is known: two models, one of which looks at a sticker."""

from seewhy.demo.demonstration import METHODS, Demonstration, demo

__all__ = ["METHODS", "Demonstration", "demo"]
