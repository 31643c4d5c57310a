"""Who is asking: accounts, sign-ins, groups, roles."""
