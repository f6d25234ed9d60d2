"""Dispatch, the parent process: binds ports, starts and restarts the others, drops privileges, answers the control socket."""
