"""The adapters that Sluice brings, one file or folder for each provider."""
