"""Commands for whoever runs an installation: start it, check it, measure it, keep its database and its keys."""
