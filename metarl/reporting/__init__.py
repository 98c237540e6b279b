"""Reports of runs: figures, and one page of HTML that holds everything."""
