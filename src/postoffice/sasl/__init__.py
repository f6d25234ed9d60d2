"""SASL mechanisms as small state machines (RFC 4422): PLAIN, LOGIN, SCRAM-SHA-256. No I/O, no user database."""
