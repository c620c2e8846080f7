"""The commands, from the words that a user types to the finished folder; above all other rooms."""
