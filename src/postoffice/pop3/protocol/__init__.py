"""POP3 as grammar and order (RFC 1939, 2449, 2595, 5034). No I/O, no clock, no user."""
