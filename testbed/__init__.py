"""Servers, databases and processes that tests and the bench share.

A package of its own, because the bench is installed with the product and may not import the tests, and the product
may not import either (setup.cfg).
"""
