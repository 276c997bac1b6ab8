"""Beyond one machine: a run of ours in PyTorch and in JAX, with the same bound and the same gradient.

    scratchvae train --model hvae --latents 16,8 --binarize sample --out runs/digits
    python demos/beyond/beyond.py runs/digits              # whichever of the two is installed
    python demos/beyond/beyond.py runs/digits --ddp 2      # and trained on by PyTorch, in two processes

All is in float64.  A network here is a list of layers, a layer a pair W, b; the loss is
`negative_elbo` of the benchmark, which is written once for both.  The two processes of
PyTorch's DistributedDataParallel take a share of each batch each, and average their
gradients: MATH (9.4).  They could be on two machines; then only `init_method` changes.
"""

import argparse
import importlib.util
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmark"))
from contenders import negative_elbo  # noqa: E402

from scratchvae import VAE, Adam, HVAE, TopDown, cli, fit  # noqa: E402
from scratchvae.cli import examples  # noqa: E402
from scratchvae.train import team  # noqa: E402
from scratchvae.train.state import stream  # noqa: E402
from scratchvae.train.step import cut  # noqa: E402

SEED, BATCH, RATE = 5, 128, 1e-3


def layers_of(model: Any) -> list[list[tuple[Any, Any]]]:
    """W and b of each layer of each network: q1, p1, q2, p2, ..., as they lie in theta."""
    return [[(layer.W, layer.b) for layer in mlp.layers.values() if hasattr(layer, "W")]
            for mlp in model.networks.values()]


def in_jax(model: Any, activation: str, x: Any, noise: Any) -> tuple[float, Any]:
    """The loss and its gradient."""
    import jax
    jax.config.update("jax_enable_x64", True)
    jnp = jax.numpy
    activate = {"relu": jax.nn.relu, "tanh": jnp.tanh, "leaky_relu": jax.nn.leaky_relu}[activation]

    def mlp(layers: Any, h: Any) -> Any:
        for W, b in layers[:-1]:
            h = activate(h @ W + b)
        return h @ layers[-1][0] + layers[-1][1]

    def loss_of(theta: Any) -> Any:
        return negative_elbo([partial(mlp, layers) for layers in theta], x, noise, jnp.exp,
                             lambda h: jnp.split(h, 2, axis=1), lambda h, x: (jax.nn.softplus(h) - x * h).sum())

    loss, gradient = jax.value_and_grad(loss_of)(layers_of(model))
    return float(loss), np.concatenate([np.ravel(array) for array in jax.tree.leaves(gradient)])


def torch_module(layers: Any, activation: str) -> Any:
    """The model as a module of PyTorch; called with x and noise it returns the loss."""
    import torch
    make = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "leaky_relu": torch.nn.LeakyReLU}[activation]

    class Bound(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.networks = torch.nn.ModuleList()
            for network in layers:
                parts: list[Any] = []
                for W, b in network:
                    parts += [torch.nn.Linear(*W.shape, dtype=torch.float64), make()]
                    parts[-2].weight.data[:] = torch.from_numpy(W.T.copy())     # y = x Wᵀ + b in PyTorch
                    parts[-2].bias.data[:] = torch.from_numpy(b.copy())
                self.networks.append(torch.nn.Sequential(*parts[:-1]))

        def forward(self, x: Any, noise: Any) -> Any:
            entropy = partial(torch.nn.functional.binary_cross_entropy_with_logits, reduction="sum")
            return negative_elbo(list(self.networks), x, noise, torch.exp, lambda h: h.chunk(2, dim=1), entropy)

    return Bound()


def in_torch(model: Any, activation: str, x: Any, noise: Any) -> tuple[float, Any]:
    """The loss and its gradient."""
    import torch
    module = torch_module(layers_of(model), activation)
    loss = module(torch.from_numpy(x), [torch.from_numpy(eps) for eps in noise])
    loss.backward()
    return loss.item(), np.concatenate([parameter.grad.numpy().T.ravel() for parameter in module.parameters()])


def one_rank(rank: int, n: int, meeting: str, layers: Any, activation: str, batches: Any, answer: Any) -> None:
    """Be one of n processes: train on one share of each batch, with the gradients averaged over all."""
    import torch
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=n)
    torch.set_num_threads(1)
    module = torch.nn.parallel.DistributedDataParallel(torch_module(layers, activation))
    adam = torch.optim.Adam(module.parameters(), lr=RATE)
    for shares in batches:
        x, noise = shares[rank]
        loss = module(torch.from_numpy(x), [torch.from_numpy(eps) for eps in noise])
        adam.zero_grad()
        loss.backward()                                # here they meet: the mean of the shares' gradients
        adam.step()
        mean = loss.detach().clone()
        torch.distributed.all_reduce(mean)
        if rank == 0:
            answer.append(mean.item() / n)
    torch.distributed.barrier()                        # one that ends before the other may abort it
    torch.distributed.destroy_process_group()


def in_processes(model: Any, activation: str, x: Any, n: int) -> tuple[list[float], list[float]]:
    """Train a pass over x, by PyTorch in n processes and by `fit`, on the same batches; return the losses."""
    import torch
    x = x[:len(x) // BATCH * BATCH]
    order, batches, sums = stream(SEED, "order", 1).permutation(len(x)), [], []
    for step in range(len(x) // BATCH):
        rows = order[step * BATCH:(step + 1) * BATCH]
        shares = [rows[share] for share in cut(BATCH)]
        draws = [model.draw_noise(len(share), stream(SEED, "share", 1, step, s)) for s, share in enumerate(shares)]
        batches.append([(x[share], noise if isinstance(noise, list) else [noise])
                        for share, noise in zip(shares, draws)])
    with tempfile.TemporaryDirectory() as folder:
        manager = torch.multiprocessing.get_context("spawn").Manager()
        answer = manager.list()
        layers = [[(W.copy(), b.copy()) for W, b in network] for network in layers_of(model)]
        meeting = (Path(folder) / "meeting").as_uri()
        torch.multiprocessing.spawn(one_rank, (n, meeting, layers, activation, batches, answer), n)
        theirs = list(answer)

    team.AHEAD = 1                                     # a step at a time, so that after_step sees each
    fit(model, x, epochs=1, batch_size=BATCH, optimizer=Adam(RATE), rng=SEED, workers=1, progress=False,
        after_step=lambda state: sums.append(state.sums[1:].sum() - state.sums[0]))        # since the epoch began
    return theirs, (np.diff(sums, prepend=0) / BATCH).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="the folder of a run of --model vae or hvae, --likelihood bernoulli")
    parser.add_argument("--ddp", type=int, choices=(0, 2), default=0, help="train on in PyTorch processes")
    args = parser.parse_args()
    run = cli.load(args.run)
    activation = run.config["activation"]
    if not isinstance(run.model, (VAE, HVAE)) or isinstance(run.model, TopDown) \
            or (run.config["likelihood"], run.config["consistency"]) != ("bernoulli", "exact") \
            or activation not in ("tanh", "relu", "leaky_relu"):
        parser.error("the run must be of --model vae or hvae, --likelihood bernoulli, --consistency exact, and "
                     "--activation tanh, relu or leaky_relu")
    model = run.model.astype(np.float64)
    x = examples.for_training(run.config, examples.read_own(run.config))[0].astype(np.float64)
    noise = model.draw_noise(200, np.random.default_rng(0))
    elbo, cache = model.forward(x[:200], noise)
    model.backward(elbo.loss_backward(), cache)
    print(f"scratchvae: the bound of 200 rows is {elbo.total.mean():.10f} nats")
    for name, compute in (("jax", in_jax), ("torch", in_torch)):
        if importlib.util.find_spec(name) is None:
            print(f"{name}: not installed")
            continue
        loss, gradient = compute(model, activation, x[:200], noise if isinstance(noise, list) else [noise])
        error = np.linalg.norm(gradient - model.gradient) / np.linalg.norm(model.gradient)
        print(f"{name}: {-loss:.10f} nats, off by {abs(loss + elbo.total.mean()):.1e}; the gradient by {error:.1e}")
    if args.ddp and importlib.util.find_spec("torch") is not None:
        theirs, ours = in_processes(model, activation, x, args.ddp)
        print(f"{len(ours)} steps of {BATCH} rows: DistributedDataParallel in {args.ddp} processes, and fit")
        for step in sorted({0, len(ours) // 2, len(ours) - 1}):
            print(f"  loss of step {step + 1}: {theirs[step]:.8f}, {ours[step]:.8f}")
        print(f"  largest difference: {np.abs(np.array(theirs) - ours).max():.1e}")


if __name__ == "__main__":
    main()
