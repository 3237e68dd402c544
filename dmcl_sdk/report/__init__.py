"""What a moderator sees: one page a video that needs no network, and an index of them."""
