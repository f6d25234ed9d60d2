"""Delivery agents: each turns a route into placements or attempts."""
