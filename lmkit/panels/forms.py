"""A task's fields as plain ipywidgets, and as traits of a widget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmkit.api import FieldSpec
from lmkit.protocol.messages import (
    BooleanField,
    ChoiceField,
    IntegerField,
    NumberField,
    TextField,
)

__all__ = ["bound_widgets", "field_trait", "field_widget"]


def field_widget(field: FieldSpec, value: Any) -> Any:
    """The plain ipywidget for a field, holding ``value``."""
    import ipywidgets

    common = {"description": field.label, "tooltip": field.help or field.label, "value": value}
    style = {"description_width": "initial"}
    layout = ipywidgets.Layout(width="100%")
    if isinstance(field, TextField):
        make = ipywidgets.Textarea if field.multiline else ipywidgets.Text
        return make(placeholder=field.placeholder, style=style, layout=layout, **common)
    bounds: dict[str, float]
    if isinstance(field, IntegerField):
        bounds = {"min": field.minimum, "max": field.maximum, "step": field.step}
        return ipywidgets.IntSlider(style=style, layout=layout, **bounds, **common)
    if isinstance(field, NumberField):
        bounds = {"min": field.minimum, "max": field.maximum, "step": field.step}
        return ipywidgets.FloatSlider(style=style, layout=layout, **bounds, **common)
    if isinstance(field, ChoiceField):
        options = list(field.options)
        return ipywidgets.Dropdown(options=options, style=style, layout=layout, **common)
    assert isinstance(field, BooleanField)
    return ipywidgets.Checkbox(layout=layout, **common)


def field_trait(field: FieldSpec) -> Any:
    """The trait for a field; synced, so that ``jslink`` works.

    It is of no type: the panel's own check of the field follows, whose refusal is one sentence.
    """
    import traitlets

    trait = traitlets.Any(field.default).tag(sync=True)
    trait.allow_none = False  # None would pass every check
    return trait


def bound_widgets(panel: Any, fields: Sequence[FieldSpec]) -> dict[str, Any]:
    """Plain ipywidgets for all fields, each linked both ways with the panel's trait."""
    import traitlets

    widgets = {}
    for field in fields:
        widget = field_widget(field, getattr(panel, field.name))
        traitlets.link((panel, field.name), (widget, "value"))
        widgets[field.name] = widget
    return widgets
