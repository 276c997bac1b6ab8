"""Wrong solutions of exercise 1; after the colon, what the grader must say."""
import numpy as np
from scratchvae import layers

# %% no bias: the bias is missing.
class Dense(layers.Dense):
    def forward(self, x):
        return np.dot(x, self.W), x

# %% no cache: Dense.forward should return 2 things, y and the cache; yours returned one ndarray.
class Dense(layers.Dense):
    def forward(self, x):
        return x @ self.W + self.b

# %% W x for x W: the left array must have as many columns as the right one has rows; here they are 4 and 3. It is in line
class Dense(layers.Dense):
    def forward(self, x):
        return self.W @ x + self.b, x

# %% entry by entry: Arrays of shapes (3,2) and (2,4) cannot be combined entry by entry. It is in line
class Dense(layers.Dense):
    def forward(self, x):
        return x * self.W + self.b, x

# %% no return: returned None. A return is missing
class Dense(layers.Dense):
    def forward(self, x):
        y = x @ self.W + self.b

# %% the library's: calls the library's own solution, in line
class Dense(layers.Dense):
    def forward(self, x):
        return super().forward(x)

# %% inherited: has no function Dense.forward any more
class Dense(layers.Dense):
    pass

# %% an alias: has no function Dense.forward any more
class Dense(layers.Dense):
    forward = layers.Dense.forward

# %% its input changed: changes its input x
class Dense(layers.Dense):
    def forward(self, x):
        y = x @ self.W + self.b
        x *= 1.0 + 1e-3
        return y, x / (1.0 + 1e-3)

# %% a syntax error: Python cannot read line
class Dense(layers.Dense)
    def forward(self, x):
        return x @ self.W, x

# %% sys.exit: ends the program
class Dense(layers.Dense):
    def forward(self, x):
        import sys
        sys.exit(0)

# %% the whole process ended: ended the whole process
class Dense(layers.Dense):
    def forward(self, x):
        import os
        os._exit(0)

# %% a name mistyped: raises NameError (name 'bias' is not defined), in line
class Dense(layers.Dense):
    def forward(self, x):
        return x @ self.W + bias, x

# %% recursion: calls itself without end
class Dense(layers.Dense):
    def forward(self, x):
        return self.forward(x)

# %% words: should be an array of numbers; yours is of type str
class Dense(layers.Dense):
    def forward(self, x):
        return "x W + b", x

# %% half done: comes to a NotImplementedError
class Dense(layers.Dense):
    def forward(self, x):
        y = x @ self.W
        raise NotImplementedError

# %% prints without end: prints more than 10 MB
class Dense(layers.Dense):
    def forward(self, x):
        while True:
            print("still here " * 1000)

# %% too much memory: takes more than 4 GB of memory
class Dense(layers.Dense):
    def forward(self, x):
        return np.ones((1 << 20, 1 << 20)), x
