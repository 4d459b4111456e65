"""The conformance kit: what every adapter does, examined against an emulator of its provider."""
