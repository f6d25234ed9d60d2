"""The mechanism of settings: keys, kinds, registry, saved values, files. No option of the server is named here."""
