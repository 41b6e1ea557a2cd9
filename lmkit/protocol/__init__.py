"""The view protocol: messages, tile names, tile numbers, and their codec. No torch, no Jupyter."""
