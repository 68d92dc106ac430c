"""How the models to be edited are made."""

from baselines import dknn as dknn  # registers its architecture, so that a saved DkNN can be loaded
