"""What all work queues share: claims that are given back."""
