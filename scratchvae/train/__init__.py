"""Training: `fit`, and what it uses.

`optim` has the optimisers, `step` one step, `fit` the loop over the data; `team` and `processes` share a step between
processes; `checkpoint` saves and resumes a run; `progress` shows how far it is; `evaluation` measures a model;
`plotting` draws.
"""
