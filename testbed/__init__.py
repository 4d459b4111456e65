"""What tests and the bench both stand on: real servers, databases of their own on them, and the product's processes.

A package of its own, because the bench is installed with the product and may not import the tests, and the product
may not import either (setup.cfg).
"""
