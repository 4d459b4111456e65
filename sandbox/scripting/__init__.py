"""Scripts, which make the sandbox misbehave for chosen payments."""
