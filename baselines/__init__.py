"""Training recipes and baselines that make the models to be edited."""

from baselines import dknn as dknn  # registers its architecture, so that a saved DkNN can be loaded
