"""Pages: pictures, maps and tables in one HTML file that needs nothing else, not even a network."""

from seewhy.draw.report.charts import Chart, Row, Rows
from seewhy.draw.report.films import Film, Films
from seewhy.draw.report.gallery import Concept, Gallery, Scene
from seewhy.draw.report.page import Block, Card, Layer, Page, Table
from seewhy.draw.report.render import render, save_page
from seewhy.draw.report.sheets import Sheet, Sheets
from seewhy.draw.report.words import where_strongest

__all__ = [
    "Page",
    "Card",
    "Layer",
    "Table",
    "Block",
    "Gallery",
    "Concept",
    "Scene",
    "Films",
    "Film",
    "Chart",
    "Rows",
    "Row",
    "Sheets",
    "Sheet",
    "render",
    "save_page",
    "where_strongest",
]
