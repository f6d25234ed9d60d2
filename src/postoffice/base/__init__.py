"""What knows no mail: errors, clock, ids, durable files, tasks, limits, locks, wires and the program's own log."""
