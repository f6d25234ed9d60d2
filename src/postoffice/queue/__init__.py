"""The one entrance for mail (intake) and where each recipient goes (router)."""
