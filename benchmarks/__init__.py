"""Speed, side by side: the same steps by this package and by its peers, each in a process of its own."""
