"""What an administrator does: set up, accounts, domains, ports, import and export. Pages and commands call these."""
