"""The report on speed: `loops` are what is measured, on `subjects`, by the clock of `rounds`, and shown on a `page`."""
