"""What every training of a network needs: optimisers, schedules, batch normalisation over processes."""
