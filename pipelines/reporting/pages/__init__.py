"""The pages beside the tables: leaderboard, claims, edits in a row, and the index of all results."""
