"""The books beside the lake: exported daily, and brought back after a disaster. They cannot be downloaded again."""

from gapless.pipeline.books.export import BooksReceipt, export_books
from gapless.pipeline.books.restore import BooksRestored, list_books, restore_books

__all__ = ["BooksReceipt", "BooksRestored", "export_books", "list_books", "restore_books"]
