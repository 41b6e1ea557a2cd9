"""Ways for a view's messages to travel: comm, anywidget, saved MIME bundle. None knows a view."""
