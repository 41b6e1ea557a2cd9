"""Panels made of plain ipywidgets, from a task's fields."""
