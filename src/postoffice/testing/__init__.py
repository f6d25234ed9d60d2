"""Fakes and tools for tests, shipped and public: clock, streams, dialogues, store contract, simulated disk."""
