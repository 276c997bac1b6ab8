"""The two figures of a page: the parts of the bound as bars, and the graph of the model."""

from __future__ import annotations

import numpy as np

from ..layers import Array
from . import pictures
from .trace import is_array, key_of, leaves
from .verdict import Record


def strip(found: Record) -> str:
    """Return the parts of the bound as bars, for each example."""
    elbo, out, n = found.elbo, [], len(found.elbo.reconstruction)
    level, top, total = ("consistency", "prior matching", "the bound") if found.K == 1 else (
        "log q/p,", "log q/p, top", "log w")           # log q - log p at the draw, of either sign
    for i in range(min(n, 4 if found.K == 1 else 12)):
        said = f"example {i // found.K + 1}" + (f", draw {i % found.K + 1}" if found.K > 1 else "")
        picture = pictures.heat_map(found.x[i // found.K][None], "x", found.picture)
        parts = {"reconstruction": elbo.reconstruction[i],
                 **{f"− {level} {t}": -c for t, c in enumerate(elbo.consistency[i], start=1)},
                 f"− {top}": -elbo.prior_matching[i]}
        out.append(f'<figure>{picture}{pictures.bars(parts, total)}'
                   f'<figcaption class="faint">{said}, in nats</figcaption></figure>')
    if len(out) < n:
        out.append(f'<p class="faint">the first {len(out)} of {n}</p>')
    for k, value in enumerate(np.ravel(found.summed.result[0]) if found.K > 1 else []):
        out.append(f'<p>L<sub>{found.K}</sub> of example {k + 1}: {value:.3f} nats</p>')
    return "".join(out)


def graph(found: Record) -> str:
    """Return the graph of the model: the norm of the value and of the gradient at every node."""
    bound = next(call for call in reversed(found.trace.calls)
                 if call.function.name.endswith(".bound") and call.owner.__class__ is found.model.__class__)
    x = key_of(bound.args["x"])
    dx = found.backward.values if found.K == 1 else None
    nodes, edges, made_by = [("x", 0, *norms("x", bound.args["x"], dx))], [], {x: 0}
    labels = {m.key: m.label for v in bound.visits for m in v.made} | {x: "x"}
    for visit in bound.visits:
        for call in visit.calls:
            if call.index not in found.answers:
                continue
            inputs = [(n, a) for n, a in call.args.items() if is_array(a) and n not in ("noise", "eps")]
            outputs = [a for a in leaves(call.result[0] if call.cached() else call.result) if is_array(a)]
            known = {key_of(a) for _, a in inputs}
            others = {made_by[key] for _, key in visit.used if key in made_by and key not in known}
            sources = [(source, n, a) for n, a in inputs for source in
                       ([made_by[key_of(a)]] if key_of(a) in made_by else sorted(others))]      # a part of others
            if not sources:
                continue
            if any(np.shares_memory(o, a) for o in outputs for _, a in inputs):        # it splits an array
                made_by.update({key_of(o): sources[0][0] for o in outputs})
                continue
            gradients = {n: g for (n, _), g in zip(inputs, leaves(found.answers[call.index].result))}
            node = len(nodes)
            column = 1 + max((nodes[s][1] for s, _, _ in sources), default=0)
            name = found.title(call).replace(".forward", "").rpartition(".")[2]
            given = next((a for a in found.answers[call.index].args.values() if is_array(a)), None)
            nodes.append((name, column, *norms(labels.get(key_of(outputs[0]), "y"), outputs[0], given)))
            made_by.update({key_of(o): node for o in outputs})
            edges += [(s, node, float(np.linalg.norm(gradients[n])))
                      for s, n, a in sources if is_array(gradients.get(n)) and gradients[n].size]
        last = max((made_by[key] for _, key in visit.used if key in made_by), key=lambda k: nodes[k][1], default=0)
        for made in visit.made:                        # what a line computed from it, without a part of the model
            if made.value.any():                       # not a constant 0
                made_by.setdefault(made.key, last)
    return pictures.graph(nodes, edges)


def norms(name: str, value: Array, gradient: Array | None) -> tuple[str, str]:
    """Return the two lines in a box of the graph: the norm of an array, and that of its gradient."""
    size = "" if gradient is None or not gradient.size else f"|d{name}| {np.linalg.norm(gradient):.2g}"
    return f"|{name}| {np.linalg.norm(np.nan_to_num(value)):.2g}", size
