"""TLS: the link between a transport and a session, contexts chosen by name, certificates."""
