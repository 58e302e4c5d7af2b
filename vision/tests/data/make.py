"""Writes sudoku_3x16.pth and logits.npy: python make.py (PyTorch 2.x and NumPy).

With a file of safetensors that the test pytorch.rs wrote: python make.py target/tmp/sudoku_3x16.safetensors loads it with
load_state_dict and compares the logits (needs the package safetensors)."""

import sys

import numpy as np
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, cin, cout):
        super().__init__()
        self.net = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(cin, cout, 3), nn.BatchNorm2d(cout), nn.ReLU())

    def forward(self, x):
        return self.net(x)


class SudokuCNN(nn.Module):
    def __init__(self, hidden, layers):
        super().__init__()
        self.conv_layers = nn.Sequential(*[Block(1 if i == 0 else hidden, hidden) for i in range(layers)])
        self.last_conv = nn.Conv2d(hidden, 9, 1)

    def forward(self, x):
        return self.last_conv(self.conv_layers(x))


torch.manual_seed(1)
net = SudokuCNN(16, 3)
boards = torch.randint(0, 10, (8, 1, 9, 9)) / 9 - 0.5
net(boards)  # The batch norms have seen something.
net.eval()
board = (torch.arange(81) % 10 / 9 - 0.5).reshape(1, 1, 9, 9)
with torch.no_grad():
    if len(sys.argv) > 1:
        from safetensors.torch import load_file

        other = SudokuCNN(16, 3)
        other.load_state_dict(load_file(sys.argv[1]))
        difference = (other.eval()(board) - torch.from_numpy(np.load("logits.npy"))).abs().max()
        print("largest difference of the logits:", difference.item())
    else:
        torch.save({"epoch": 1, "model": {f"module.{k}": v for k, v in net.state_dict().items()}}, "sudoku_3x16.pth")
        np.save("logits.npy", net(board).numpy())
