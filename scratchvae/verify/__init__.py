"""Why the library can be believed: `gradcheck` checks gradients, `exact` has models whose log p(x) is known,
`writings` says the same diffusion in three ways.
"""
