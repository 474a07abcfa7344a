"""Pages: pictures, maps and tables in one HTML file that needs nothing else, not even a network."""

from seewhy.draw.report.page import Card, Layer, Page, Table
from seewhy.draw.report.render import render, save_page
from seewhy.draw.report.words import where_strongest

__all__ = ["Page", "Card", "Layer", "Table", "render", "save_page", "where_strongest"]
