#!/usr/bin/env python3
"""Makes vae_small.pt and vae_small.npz beside this file: a small VAE of tables D1 and D2 as a PyTorch user may have it (other
module names, a prefix of DataParallel, log variance instead of log sigma), with random BatchNorm statistics, and what PyTorch
computes with it in float32. Run with torch 2.15."""
import os
import numpy as np
import torch
from torch import nn

torch.manual_seed(3)
torch.set_num_threads(1)


class VAE(nn.Module):
    def __init__(self, ch=(2, 3, 4, 5), hidden=7, latents=3):
        super().__init__()
        layers, c = [], 1
        for i, k in enumerate(ch):
            layers.append(nn.Sequential(*([nn.Conv2d(c, k, 4, 2, 1, bias=False)] + ([nn.BatchNorm2d(k)] if i else []) + [nn.LeakyReLU(0.2)])))
            c = k
        layers.append(nn.Sequential(nn.Conv2d(c, hidden, 4, 1, 0, bias=False), nn.LeakyReLU(0.2), nn.Flatten()))
        self.encoder = nn.Sequential(*layers)
        self.fc_mu, self.fc_logvar = nn.Linear(hidden, latents), nn.Linear(hidden, latents)
        layers, c = [], latents
        for i, k in enumerate(reversed(ch)):
            layers.append(nn.Sequential(nn.ConvTranspose2d(c, k, 4, 1 if i == 0 else 2, 0 if i == 0 else 1, bias=False), nn.BatchNorm2d(k), nn.ReLU()))
            c = k
        layers.append(nn.Sequential(nn.ConvTranspose2d(c, 1, 4, 2, 1, bias=False), nn.Tanh()))
        self.decoder = nn.Sequential(*layers)


m = VAE()
for mod in m.modules():
    if isinstance(mod, nn.BatchNorm2d):
        nn.init.uniform_(mod.weight, 0.5, 1.5), nn.init.normal_(mod.bias, 0, 0.3)
        mod.running_mean.normal_(0, 0.3), mod.running_var.uniform_(0.5, 2)
m.eval()
here = os.path.dirname(os.path.abspath(__file__))
torch.save(nn.DataParallel(m).state_dict(), os.path.join(here, 'vae_small.pt'))
with torch.no_grad():
    z, x = torch.randn(2, 3), torch.rand(2, 1, 64, 64)
    h = m.encoder(x)
    np.savez_compressed(os.path.join(here, 'vae_small.npz'), z=z, image=m.decoder(z[:, :, None, None]), x=x, mu=m.fc_mu(h), sigma=torch.exp(0.5 * m.fc_logvar(h)))
