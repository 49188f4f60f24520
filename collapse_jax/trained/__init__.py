"""Generators that are trained: flows, diffusion models and autoencoders of points and images."""







