"""Dispatch, the parent process: binds ports, starts the others, drops privileges, answers the control socket."""
