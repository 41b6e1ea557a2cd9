"""Views as files: pictures for papers, pages, exact numbers."""

from lmkit.saving.save import FORMATS, ExportedFile, SavedFile, Wish, export, save

__all__ = ["FORMATS", "ExportedFile", "SavedFile", "Wish", "export", "save"]
