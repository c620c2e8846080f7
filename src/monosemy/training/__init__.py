"""Training of networks: the loop, its batches, optimisers and run folders."""
