"""Mail at rest: segments of bytes, the index that is the only truth, group commit, recovery, verification."""
