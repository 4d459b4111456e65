"""The measuring instrument: the real product and the usual ways of doing its work, side by side on this machine."""
