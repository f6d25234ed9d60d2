"""SMTP as grammar and order: bytes in, events out; replies in, bytes out (RFC 5321). No I/O, no clock, no user."""
