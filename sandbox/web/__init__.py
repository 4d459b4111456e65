"""HTTP: the payment API, the control API of tests and the hosted pay page."""
