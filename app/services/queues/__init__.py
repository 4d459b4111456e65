"""Parts that all work queues share: claims that are given back, bounded waits for locks."""
