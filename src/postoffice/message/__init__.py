"""Mail as data, without I/O: addresses, envelopes, header fields, MIME structure, Japanese encodings, trace fields."""
