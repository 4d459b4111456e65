"""The web application: the API, webhooks, health checks, metrics and pages."""
