"""The parts of `sluice listen`: a stream that resumes, and a signed forwarder."""
