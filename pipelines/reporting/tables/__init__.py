"""From the records of cells to tables, beside the numbers of the paper."""
