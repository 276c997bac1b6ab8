"""Data: the digits that come with the library, MNIST, files and tables of your own, scaling, and safe writing.

`datasets` has digits to learn on; `files` reads arrays and CSV tables, `columns` and `scaling` turn a table into what a
model sees, and back; `mnist` reads or downloads MNIST; `writing` writes a file whole or not at all.
"""

from .datasets import Dataset, binarize, digits

__all__ = ["Dataset", "binarize", "digits"]
