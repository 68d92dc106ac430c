"""How results are shown: Markdown tables, figures, the leaderboard page, the paper's numbers beside ours."""
