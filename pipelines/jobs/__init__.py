"""What stages share: cells and models, the search for hyperparameters, work on several cores, shards of records."""
