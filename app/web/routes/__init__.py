"""The handlers of the web application's routes: each calls one service and presents its result."""
