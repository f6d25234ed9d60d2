"""SMTP-Accept: the protocol engine without I/O, and the session, submission rules and listener around it."""
