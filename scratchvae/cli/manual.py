"""What the help says besides the options: what the command is for, and each sub-command by examples."""

TOP = """\
Train a VAE, or a hierarchical one, on your own data; see how good it is; draw
from it.  A first walk, some ten seconds in all:

  scratchvae train --data digits --binarize resample-each-epoch --out runs/digits
  scratchvae evaluate runs/digits
  scratchvae sample runs/digits --out digits.png

A run is a folder.  Kill it when you like: `scratchvae train --resume runs/digits`
goes on, to the same bits.  `scratchvae COMMAND --help` has more examples.

It works on one core.  `train` and `evaluate` use more with --workers auto.  (Matrices are
multiplied by one thread, as a second one can be ruinous on a machine that has other
work to do; where OPENBLAS_NUM_THREADS is set, it says how many, but for workers.)"""

TRAIN = """\
examples:
  the data of this package, 8x8 digits, in some seconds:
    scratchvae train --data digits --binarize resample-each-epoch --out runs/digits

  a hierarchy of three levels, beta rising for 50 epochs so that none is given up:
    scratchvae train --model hvae --latents 16,8,4 --warm-up 50 --epochs 300 \\
        --binarize resample-each-epoch --out runs/three

  two levels with networks of their own (200-200 below, 100-100 above), inferred from
  the top down, and an average of the parameters over the last 5000 steps or so:
    scratchvae train --data mnist --binarize sample --model topdown --latents 100,50 \\
        --hidden 200,200/100,100 --schedule exponential:1e-4 --average 0.9998 --out runs/mnist

  importance-weighted, five draws of z for each digit, q's gradient doubly reparameterised:
    scratchvae train --objective iwae --importance 5 --estimator dreg --batch-size 20 \\
        --binarize resample-each-epoch --out runs/iwae

  a diffusion, its network two hidden layers of 256:
    scratchvae train --model diffusion --binarize resample-each-epoch --batch-size 128 \\
        --epochs 500 --learning-rate 2e-3 --schedule exponential:1e-4 --out runs/diffusion

  your table, with text, numbers and empty cells; training ends when it no longer helps:
    scratchvae train --data table.csv --out runs/table
    scratchvae train --data table.csv --labels -1 --kinds visits=poisson --out runs/table

  go on after Ctrl-C, a crash or kill -9; or train an old run for longer:
    scratchvae train --resume runs/table
    scratchvae train --resume runs/table --epochs 500

the folder then holds config.json, history.csv (its columns valid_... are of the rows
held out), held_out.csv (their numbers in the file), checkpoint.npz (and the one before
it), curves.png, samples.png and, where the data are no images, samples.csv."""

EVALUATE = """\
examples:
  scratchvae evaluate runs/digits
  scratchvae evaluate runs/mnist --samples 5000 --json > mnist.json
  scratchvae evaluate runs/table --data new.csv
  scratchvae evaluate runs/table --data new.csv --rows scores.csv     # the unlikely rows: sort by log_likelihood

An active unit is a latent that does something: its mean moves with x, with a
variance above 0.01 (Burda et al. 2016); or its KL is above 0.01 nats."""

SAMPLE = """\
examples:
  scratchvae sample runs/digits --out digits.png
  scratchvae sample runs/table --count 1000 --out synthetic.csv
  scratchvae sample runs/diffusion --steps 20 --out digits.png

A diffusion passes through --steps levels without new noise.  The bound that
evaluate prints is that of all its levels, and of their noise."""

RECONSTRUCT = """\
examples:
  scratchvae reconstruct runs/digits --out pairs.png
  scratchvae reconstruct runs/three --level 3 --out pairs.png     # what the top level still knows
  scratchvae reconstruct runs/table --data new.csv --count 500 --out again.csv"""

IMPUTE = """\
examples:
  scratchvae impute runs/table --data table.csv --out full.csv
  scratchvae impute runs/table --data table.csv --draw --seed 1 --out one.csv"""

INTERPOLATE = """\
examples:
  scratchvae interpolate runs/digits --between 3,8 --out walk.png
  scratchvae interpolate runs/three --between 3,8 --level 3 --steps 12 --out walk.png"""

ENCODE = """\
examples:
  scratchvae encode runs/digits --out codes.npz       # mu_1, logvar_1, and the labels
  scratchvae encode runs/table --data new.csv --out codes.csv"""

GRADCHECK = """\
examples:
  scratchvae gradcheck
  scratchvae gradcheck --model hvae --latents 16,8,4 --activation relu --likelihood gaussian

Every gradient of every part of the bound is compared with its complex-step
derivative, which is exact to rounding; one that is wrong makes the exit code 1.
Then the function whose backward is wrong stands first, with the kind of mistake that
it looks like, and the gradients that are wrong only because of it after it."""

EXPLAIN = """\
examples:
  scratchvae explain --out vae.html                   # a small VAE, ten epochs on the digits of this package
  scratchvae explain --model hvae --latents 4,3,2 --out three.html
  scratchvae explain --importance 5 --out weights.html
  scratchvae explain runs/digits --out page.html      # a run, with its own data
  scratchvae explain runs/table --data new.csv --rows 1 --out page.html

The page is one file, which needs no network. Beside every line of the forward pass stand
its equation, the arrays that it made, the line of backward that answers it, and for each
gradient how far it is from its complex-step derivative. All is computed in float64. A
gradient that is wrong makes the exit code 1, and its line is marked."""
