"""Why the library can be believed.

`gradcheck` checks gradients; it and the folders diagnose/ and explain/ share what stands before it: a value with its
derivative (dual), the two witnesses (derivative), noise that stands still, the steps of a pass, functions and models
as pairs, and the search for the first wrong gradient.  `exact` has models whose log p(x) is known, `diffusion_forms`
says the same diffusion in three ways.
"""
