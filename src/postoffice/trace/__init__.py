"""What happened to each message and each client: events, the packed trace, the plain log, search, retention."""
