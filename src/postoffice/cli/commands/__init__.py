"""One file per command group; each exposes a click command listed in `catalog.py`."""
