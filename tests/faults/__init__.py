"""Scripts that repeat a fault on a stack of their own, in real time; each exits with 1 where something was lost."""
