"""POP3-Server: the protocol engine without I/O, and the session and listener around it."""
