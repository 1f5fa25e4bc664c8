#!/usr/bin/env python3
"""Makes vae_trained.pt and vae_trained.npz beside this file: a VAE of tables D1 and D2 with few channels, trained on elliptical
exponential galaxies, and images that PyTorch decodes with it in float32. Run with torch 2.15; takes a minute."""
import math
import os
import numpy as np
import torch
from torch import nn

torch.manual_seed(5)
torch.set_num_threads(1)


def vae(channels=(8, 8, 12, 12), hidden=24, latents=4):
    enc, dec, c = [], [], 1
    for i, k in enumerate(channels):
        enc += [nn.Conv2d(c, k, 4, 2, 1, bias=False)] + ([nn.BatchNorm2d(k)] if i else []) + [nn.LeakyReLU(0.2)]
        c = k
    enc += [nn.Conv2d(c, hidden, 4, 1, 0, bias=False), nn.LeakyReLU(0.2), nn.Flatten()]
    c = latents
    for i, k in enumerate(reversed(channels)):
        dec += [nn.ConvTranspose2d(c, k, 4, 2 if i else 1, 1 if i else 0, bias=False), nn.BatchNorm2d(k), nn.ReLU()]
        c = k
    dec += [nn.ConvTranspose2d(c, 1, 4, 2, 1, bias=False), nn.Tanh()]
    return nn.ModuleDict(dict(encoder=nn.Sequential(*enc), mu=nn.Linear(hidden, latents), log_sigma=nn.Linear(hidden, latents), decoder=nn.Sequential(*dec)))


def galaxies(n):
    t = (torch.arange(64) - 31.5) / 64
    y, x = torch.meshgrid(t, t, indexing='ij')
    scale, q, phi = 0.05 + 0.05 * torch.rand(n, 1, 1), 0.4 + 0.6 * torch.rand(n, 1, 1), math.pi * torch.rand(n, 1, 1)
    u, v = x * torch.cos(phi) + y * torch.sin(phi), y * torch.cos(phi) - x * torch.sin(phi)
    p = torch.exp(-torch.sqrt(u * u * q + v * v / q + 0.02 ** 2) / scale)
    return (p / p.amax((1, 2), keepdim=True))[:, None]


m = vae()
opt = torch.optim.Adam(m.parameters(), 2e-3, (0.5, 0.999))
steps = 2500
for s in range(steps):
    for g in opt.param_groups:
        g['lr'] = 2e-3 * 0.5 * (1 + math.cos(math.pi * s / steps))
    x = galaxies(32)
    h = m['encoder'](x)
    mu, ls = m['mu'](h), m['log_sigma'](h).clamp(-10, 10)
    z = mu + ls.exp() * torch.randn_like(mu)
    rec = ((m['decoder'](z[:, :, None, None]) - x) ** 2).sum() / (2 * 0.05 ** 2 * 32)
    loss = rec + (0.5 * (mu ** 2 + (2 * ls).exp() - 1) - ls).sum() / 32
    opt.zero_grad(), loss.backward(), opt.step()
    if s % 250 == 0:
        print(s, loss.item())
m.eval()
here = os.path.dirname(os.path.abspath(__file__))
torch.save(m.state_dict(), os.path.join(here, 'vae_trained.pt'))
with torch.no_grad():
    x = galaxies(2)
    z = m['mu'](m['encoder'](x))
    image = m['decoder'](z[:, :, None, None])
    print(((image - x) ** 2).mean().sqrt())
    np.savez_compressed(os.path.join(here, 'vae_trained.npz'), z=z, image=image)
