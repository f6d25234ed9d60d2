"""Who exists: accounts, addresses, domains, credentials; address -> account, or nobody, or not ours."""
