"""Named stories of payments that go wrong, played against the sandbox and reported step by step."""
